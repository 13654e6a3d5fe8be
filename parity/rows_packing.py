"""Rows 12-15, 26 and the length-grouped order: packing as TRL does it, and what a packed row computes."""

import types

import torch
from datasets import Dataset, disable_progress_bars
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from common import case, seed, write_row
from tiny import load

EXACT = {"abs": 0, "rel": 0}
DOC = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]]


def packed(name, rows, length, strategy):
    """Labels move with the ids: they are the ids + 1000."""
    rows_with_labels = {"input_ids": rows, "labels": [[i + 1000 for i in row] for row in rows]}
    out = pack_dataset(Dataset.from_dict(rows_with_labels), length, strategy)
    assert [[i - 1000 for i in row] for row in out["labels"]] == out["input_ids"][:]
    outputs = {"inputIds": out["input_ids"][:]}
    if "seq_lengths" in out.column_names:
        outputs["seqLengths"] = out["seq_lengths"][:]
    return {"name": name, "inputs": {"rows": rows}, "attrs": {"maxLength": length, "strategy": strategy}, "outputs": outputs}


def pack_rows():
    disable_progress_bars()
    seed(14)
    lengths = torch.randint(0, 24, (60,)).tolist()
    many = [list(range(100 * i, 100 * i + n)) for i, n in enumerate(lengths)]
    ties = [[i] * 3 for i in range(9)] + [[i] * 2 for i in range(9, 20)] + [[i] for i in range(20, 27)]
    # More rows than one batch of `datasets.map`: packs do not reach across 1000 rows.
    long = [[i % 10] * (1 + i % 3) for i in range(1005)]
    sets = [("doc", DOC, 4), ("ties", ties, 7), ("many", many, 16), ("many-wide", many, 50), ("windows", long, 8)]
    write_row(14, "pack-bfd", "best-fit-decreasing packing", EXACT, [packed(n, r, l, "bfd") for n, r, l in sets])
    write_row(15, "pack-split", "bfd_split and wrapped packing", EXACT,
              [packed(f"{n}-{s}", r, l, s) for n, r, l in sets[:4] for s in ("bfd_split", "wrapped")])


def collate_rows():
    """One flat row each, as the padding-free collator makes it: ours keeps the rows apart and pads."""
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    sets = [
        ("3-4-2", [[3, 4, 2]], [list(range(10, 19))]),
        ("two-rows", [[2, 1], [3]], [[5, 6, 7], [8, 9, 10]]),
        ("ones", [[1, 1, 2]], [[4, 5, 6, 7]]),
    ]
    cases = []
    for name, seq_lengths, ids in sets:
        examples = [{"input_ids": i, "labels": i, "seq_lengths": s} for i, s in zip(ids, seq_lengths, strict=True)]
        out = collator(examples)
        cases.append({"name": name, "inputs": {"inputIds": ids, "seqLengths": seq_lengths},
                      "outputs": {"labels": out["labels"][0].tolist(), "positionIds": out["position_ids"][0].tolist(), "seqIdx": out["seq_idx"][0].tolist()}})
    write_row(13, "packed-labels", "positions restart, the first label of each segment is not learned", EXACT, cases,
              {"labels": "unshifted, the rows of a batch one after another"})


def model_rows():
    """Segments of 3, 4 and 2 tokens in one row against each alone: loss = sum over labels, gradients of that sum."""
    model = load("tiny-llama")
    seed(12)
    parts = [torch.randint(3, 256, (1, n)) for n in (3, 4, 2)]
    labels = [p.clone() for p in parts]
    labels[1][0, 1] = -100
    positions = torch.cat([torch.arange(p.shape[1]) for p in parts])[None]

    def total(logits, labels):
        return torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum")

    alone = [model(input_ids=p).logits for p in parts]
    loss = sum(total(lo, la) for lo, la in zip(alone, labels, strict=True))
    loss.backward()
    grads = {name: p.grad.norm() for name, p in model.named_parameters()}
    joined_labels = torch.cat([torch.cat([torch.full((1, 1), -100), la[:, 1:]], 1) for la in labels], 1)
    together = model(input_ids=torch.cat(parts, 1), position_ids=positions, use_cache=False).logits
    assert torch.allclose(together, torch.cat(alone, 1), atol=1e-5), "transformers itself keeps the segments apart"
    assert torch.allclose(total(together, joined_labels), loss, rtol=1e-5)
    write_row(12, "packed-model", "a packed row computes what its segments compute alone (tiny-llama)", {"abs": 1e-5, "rel": 1e-5},
              [case("3-4-2", inputs={"inputIds": torch.cat(parts, 1), "labels": torch.cat(labels, 1)}, attrs={"seqLengths": [3, 4, 2]},
                    outputs={"logits": torch.cat(alone, 1)[..., :24], "loss": loss}, grads=grads)],
              {"logits": "of the first 24 ids", "loss": "sum over the labels but the first of each segment", "grads": "L2 norm of the gradient of each parameter"})


class Loader:
    def __init__(self, rows, batch_size, drop_last):
        self.dataset = range(rows)
        self.batches = rows // batch_size if drop_last else -(-rows // batch_size)

    def __len__(self):
        return self.batches


def plan_rows():
    cases = []
    for rows, batch, accumulation, epochs, max_steps, drop_last in [
        (103, 2, 16, 3, -1, False), (103, 2, 16, 3, -1, True), (103, 2, 16, 2.5, -1, False), (103, 2, 16, 3, 10, False),
        (5, 8, 4, 3, -1, False), (64, 8, 4, 1, -1, False), (64, 8, 4, 1, 7, False), (10, 3, 2, 0.5, -1, False), (1, 1, 1, 3, 100, False),
    ]:
        args = types.SimpleNamespace(max_steps=max_steps, num_train_epochs=epochs, gradient_accumulation_steps=accumulation,
                                     train_batch_size=batch, n_gpu=1, world_size=1, per_device_train_batch_size=batch)
        fake = types.SimpleNamespace(get_total_train_batch_size=lambda a: a.train_batch_size * a.gradient_accumulation_steps,
                                     get_sp_size=lambda: 1, num_examples=lambda d: len(d.dataset))
        num_train_epochs, per_epoch, _, _, _, _, total = Trainer.set_initial_training_values(fake, args, Loader(rows, batch, drop_last))
        cases.append({"name": f"{rows}-{batch}-{accumulation}-{epochs}-{max_steps}-{drop_last}",
                      "attrs": {"rows": rows, "batchSize": batch, "gradientAccumulationSteps": accumulation, "numTrainEpochs": epochs, "maxSteps": max_steps, "dropLast": drop_last},
                      "outputs": {"numTrainEpochs": num_train_epochs, "updatesPerEpoch": per_epoch, "maxSteps": total}})
    write_row(26, "plan", "updates of a run", EXACT, cases)


def grouped_rows():
    """The permutation is an input: random streams are not compared."""
    cases = []
    for count, batch in [(1, 4), (7, 2), (40, 2), (500, 2), (37, 4)]:
        seed(count)
        lengths = torch.randint(1, 30, (count,)).tolist()
        permutation = torch.randperm(count, generator=torch.Generator().manual_seed(count)).tolist()
        order = get_length_grouped_indices(lengths, batch, generator=torch.Generator().manual_seed(count))
        cases.append({"name": f"{count}-{batch}", "inputs": {"lengths": lengths, "permutation": permutation}, "attrs": {"batchSize": batch}, "outputs": {"order": order}})
    write_row(215, "length-grouped", "order of rows grouped by length", EXACT, cases)


def main():
    pack_rows()
    collate_rows()
    model_rows()
    plan_rows()
    grouped_rows()
