"""Rows 27-30: gradient accumulation, a short last window, and traces of transformers.Trainer on tiny Llama."""

import torch

from common import G, VERSIONS, case, seed, write_json, write_row
from recording import TRACE, arguments, collate, label_counts, settings, spread, train
from rows_lora_runs import patterned_rows, report
from tiny import load

# Whole gradients of the norm weights, L2 norms of all: enough to see a wrong scale or a missing micro-batch.
SHOWN = ["model.norm.weight", "model.layers.0.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight"]


def shown(model):
    params = dict(model.named_parameters())
    return {n: params[n].grad.clone() for n in SHOWN}, {n: p.grad.double().norm().item() for n, p in params.items()}


def accumulate(model, batches, num_items):
    """sum of CE over all micro-batches / num_items, backward per micro-batch."""
    model.zero_grad()
    losses = []
    for b in batches:
        loss = model(**b, num_items_in_batch=torch.tensor(num_items)).loss
        loss.backward()
        losses.append(loss.item())
    return losses


def listed(batches):
    return {f"{k}{i}": b[k] for i, b in enumerate(batches) for k in ("input_ids", "labels", "attention_mask")}


def window_rows():
    seed(27)
    model = load()
    rows = patterned_rows(9, masked=0)
    rows[2]["labels"] = [-100] * 6 + rows[2]["labels"][6:] if len(rows[2]["labels"]) > 7 else rows[2]["labels"]
    rows[4]["labels"] = [-100] * (len(rows[4]["labels"]) - 1) + rows[4]["labels"][-1:]
    batches = [collate(rows[i : i + n]) for i, n in [(0, 2), (2, 3), (5, 2), (7, 2)]]
    num, unshifted = label_counts(batches)
    micro = accumulate(model, batches, num)
    grads, norms = shown(model)

    model.zero_grad()
    whole = collate(rows)
    loss = model(**whole).loss  # mean over its valid shifted labels = sum / num
    loss.backward()
    one, one_norms = shown(model)
    for n in SHOWN:
        assert torch.allclose(grads[n], one[n], atol=1e-6, rtol=1e-4)
    assert abs(loss.item() - sum(micro)) < 1e-5

    model.zero_grad()
    wrong = sum(model(**b).loss.item() for b in batches) / len(batches)
    write_row(27, "gradient-accumulation", "4 micro-batches of unequal tokens equal one batch", G, [
        case("four-equal-one", inputs=listed(batches),
             attrs={"numItems": num, "labelsUnshifted": unshifted, "meanOfMeans": wrong, "model": "tiny-llama", "gradNorm": one_norms},
             outputs={"loss": loss, "microLosses": torch.tensor(micro)}, grads=one)
    ], {"loss": "each micro-batch contributes sum of CE / numItems; their sum is the loss of the one batch of all nine rows in order",
        "meanOfMeans": "the tempting wrong value: the mean of the micro-batches' mean losses",
        "tolerance": "grads of a two-layer float32 model: use 1e-4 for the GPU", "numItems": TRACE["numItems"]})

    # Row 28 by the Trainer itself: 5 micro-batches of 2 rows (the last has 1), GA 4 -> windows of 4 and 1.
    seed(28)
    rows = patterned_rows(9, masked=1)
    windows = []
    trace, trainer = train(load(), rows, arguments(max_steps=2, per_device_train_batch_size=2, gradient_accumulation_steps=4, learning_rate=1e-3, lr_scheduler_type="constant"),
                           on_gradients=lambda m: windows.append(shown(m)))
    assert [len(t["microBatches"]) for t in trace] == [4, 1]
    batches = [collate(rows[i : i + 2]) for i in range(0, 9, 2)]
    write_row(28, "short-last-window", "5 micro-batches, GA 4: the last window has one", G, [
        case(f"window-{i + 1}", attrs={k: trace[i][k] for k in ("numItems", "labelsUnshifted", "microBatches", "microLosses", "loss", "gradNorm", "learningRate", "epoch")} | {"gradNorms": norms}, grads=grads)
        for i, (grads, norms) in enumerate(windows)
    ], {**TRACE, "windows": "window 1 = micro-batches 0-3, window 2 = micro-batch 4 alone, its loss divided by its own numItems; window 2 is after one AdamW update (lr 1e-3, constant, no decay) with clip 1.0"},
        model="tiny-llama", settings=settings(trainer.args, trainer), inputs=listed_json(batches))


def listed_json(batches):
    from common import tensor
    return {k: tensor(v) for k, v in listed(batches).items()}


def trace_rows():
    def run(name, rows, args, unshifted=False):
        model = load()
        trace, trainer = train(model, rows, args, unshifted=unshifted)
        report(name, trace)
        with torch.no_grad():
            weights = {n: p.double().norm().item() for n, p in model.named_parameters()}
        return trace, settings(args, trainer), weights

    common = dict(per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=1e-3, lr_scheduler_type="cosine", weight_decay=0.01, max_grad_norm=1.0)
    seed(29)
    rows = patterned_rows(80, masked=0)
    args = arguments(max_steps=20, warmup_steps=0.1, **common)
    trace, used, weights = run("row 29", rows, args)
    precise, _ = train(load().double(), rows, args)
    older, _, _ = run("row 29, unshifted count", rows, args, unshifted=True)
    seed(290)
    odd_rows = patterned_rows(21, masked=0)
    odd_args = arguments(max_steps=20, warmup_steps=3, **common)
    odd, odd_used, odd_weights = run("row 29, short windows", odd_rows, odd_args)
    tolerance = {"loss": {"rel": 1e-4}, "gradNorm": {"rel": 1e-3}, "learningRate": {"rel": 1e-9}}
    write_json("row29-trainer-trace.json", {
        "row": 29, "case": "transformers.Trainer, full fine-tuning of tiny-llama, 20 updates", "versions": VERSIONS, "tolerance": tolerance, "model": "tiny-llama",
        "conventions": {**TRACE,
                        "weightNormsAfter": "L2 norm of each parameter after the run",
                        "unshiftedCount": "the same run, labels counted with position 0 as older transformers did: loss and gradients are smaller by numItems/labelsUnshifted",
                        "float32VersusFloat64": "largest relative difference to the same run in float64 (RMSNorm stays float32 inside): honest rounding"},
        "cases": [
            {"name": "one-epoch", "settings": used, "rows": rows, "trace": trace, "weightNormsAfter": weights, "float32VersusFloat64": spread(trace, precise),
             "unshiftedCount": [{k: e[k] for k in ("step", "loss", "gradNorm", "learningRate")} for e in older]},
            {"name": "epochs-with-short-windows", "note": "21 rows: 11 batches (the last of 1 row), 6 updates an epoch (the last window of 1 micro-batch), 20 updates = 3 epochs and 2 updates",
             "settings": odd_used, "rows": odd_rows, "trace": odd, "weightNormsAfter": odd_weights},
        ],
    })

    cases = []
    for schedule, warmup in [("linear", 5), ("cosine", 5), ("constant_with_warmup", 5), ("linear", 0.25), ("linear", 0)]:
        args = arguments(max_steps=12, warmup_steps=warmup, per_device_train_batch_size=2, learning_rate=1e-3, lr_scheduler_type=schedule)
        got, used, _ = run(f"row 30 {schedule} {warmup}", rows[:24], args)
        cases.append({"name": f"{schedule}-warmup-{warmup}", "attrs": {"warmupSteps": used["warmupSteps"], "warmupGiven": warmup, "maxSteps": 12, "learningRate": 1e-3, "lrSchedulerType": schedule},
                      "outputs": {"learningRatePerUpdate": [e["learningRate"] for e in got]}})
        assert warmup == 0 or got[0]["learningRate"] == 0
    write_row(30, "learning-rate-logged", "rate of every update as the Trainer logs it", {"abs": 0, "rel": 1e-12}, cases,
              {"learningRate": "the rate the update used; with warmup the first is 0", "warmupGiven": "below 1: a ratio, warmupSteps = ceil(ratio * maxSteps)"})


def main():
    window_rows()
    trace_rows()
