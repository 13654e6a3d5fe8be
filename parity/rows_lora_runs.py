"""Three LoRA runs of 30 updates by transformers.Trainer + PEFT: loss, grad norm and rate of every update.

The initial adapter (default init: A kaiming-uniform, B zero) and the final one are saved as PEFT writes them.
"""

import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model

import rows_stories as stories
from common import SHARED, SHARED_NAME, VERSIONS, fresh_folder, seed, write_json, write_tensors
from recording import TRACE, Recording, arguments, collate, settings, spread, train
from tiny import load

TOLERANCE = {"loss": {"rel": 1e-3}, "gradNorm": {"rel": 1e-2}, "learningRate": {"rel": 1e-9}}


def save_adapter(model, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # a model card template, no part of the format


def patterned_rows(count, masked, vocab=256):
    """Arithmetic sequences (start, step) mod vocab with a little noise: learnable, of 5 to 20 tokens. The first
    `masked` labels are -100."""
    rows = []
    for _ in range(count):
        length = int(torch.randint(5, 21, ()))
        start, step = int(torch.randint(3, vocab, ())), int(torch.randint(1, 4, ()))
        ids = [3 + (start + step * i) % (vocab - 3) for i in range(length)]
        if length > 8:
            ids[length // 2] = int(torch.randint(3, vocab, ()))
        rows.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
    return rows


def tiny_run(name, rows, config, args, base="tiny-llama"):
    folder = fresh_folder(name)
    seed(30)
    model = get_peft_model(load(base), config)
    save_adapter(model, folder / "initial")
    trace, trainer = train(model, rows, args)
    save_adapter(model, folder / "final")
    with torch.no_grad():
        batch = collate(rows[:2])
        logits = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    precise = PeftModel.from_pretrained(load(base), folder / "initial", is_trainable=True).double()
    precise_trace, _ = train(precise, rows, args)
    with torch.no_grad():
        drift = (precise.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits - logits).abs()
    rounding = {**spread(trace, precise_trace), "finalLogitsAbs": drift[batch["attention_mask"].bool()].max().item()}
    write_tensors(f"{name}/expected.safetensors", {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "final_logits": logits})
    write_json(f"{name}/run.json", {
        "case": "LoRA training trace, 30 updates", "versions": VERSIONS, "tolerance": TOLERANCE, "base": base,
        "conventions": {**TRACE, "float32VersusFloat64": "largest relative difference of loss and gradNorm, and absolute of final logits, to the same run in float64: a bound for honest rounding",
            "files": "initial/ and final/: adapter folders as PEFT saves them; expected.safetensors: final_logits [B,T,V] of the first two rows after the run (compare where attention_mask is 1)"},
        "settings": {**settings(args, trainer), "loraR": config.r, "loraAlpha": config.lora_alpha, "useRslora": config.use_rslora,
                     "targetModules": sorted(config.target_modules) if not isinstance(config.target_modules, str) else config.target_modules,
                     "trainableParameters": sum(p.numel() for p in model.parameters() if p.requires_grad)},
        "float32VersusFloat64": rounding,  # how far the same run in float64 lies
        "trace": trace, "rows": rows,
    })
    report(name, trace)


def report(name, trace):
    print(f"  {name}: {len(trace)} updates, loss {trace[0]['loss']:.4f} -> {trace[-1]['loss']:.4f}, grad norm {trace[0]['gradNorm']:.3f} .. {trace[-1]['gradNorm']:.3f}")


def prepare_nl2bash(tok, count=480, max_length=160):
    """Prompt-completion rows the way TRL's SFTTrainer prepares them (non-conversational, keep_start)."""
    eos = tok.eos_token
    lines = (SHARED / "datasets" / "nl2bash" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows, masks, facts = [], [], {"divergingRows": [], "droppedRows": [], "truncatedRows": []}
    for index, line in enumerate(lines):
        row = json.loads(line)
        completion = row["completion"] if row["completion"].endswith(eos) else row["completion"] + eos
        prompt_ids = tok(row["prompt"])["input_ids"]
        ids = tok(row["prompt"] + completion)["input_ids"]
        shared = next((i for i, (a, b) in enumerate(zip(prompt_ids, ids)) if a != b), min(len(prompt_ids), len(ids)))
        if shared != len(prompt_ids):
            facts["divergingRows"].append({"row": index, "promptTokens": len(prompt_ids), "commonPrefix": shared})
        mask = ([0] * shared + [1] * (len(ids) - shared))[:max_length]
        if len(ids) > max_length:
            facts["truncatedRows"].append(index)
        if 1 not in mask:
            facts["droppedRows"].append(index)
            continue
        ids = ids[:max_length]
        rows.append({"input_ids": ids, "labels": [t if m else -100 for t, m in zip(ids, mask)]})
        masks.append(mask)
    return rows, masks, facts


def through_trl(tok, config, initial, given):
    """The same run by trl.SFTTrainer itself, its own data preparation and loss: a cross-check of ours."""
    import tempfile

    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    class Trainer(Recording, SFTTrainer):
        pass

    disable_progress_bars()
    tok.pad_token = tok.eos_token
    lines = (SHARED / "datasets" / "nl2bash" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:480]
    data = Dataset.from_list([{k: json.loads(line)[k] for k in ("prompt", "completion")} for line in lines])
    args = SFTConfig(output_dir=tempfile.mkdtemp(prefix="parity-"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
                     save_strategy="no", disable_tqdm=True, logging_steps=1, seed=0, max_length=160, dataloader_pin_memory=False, **given)
    model = PeftModel.from_pretrained(stories.model(), initial, is_trainable=True)
    trainer = Trainer(model=model, args=args, train_dataset=data, processing_class=tok)
    prepared = [{"input_ids": r["input_ids"], "labels": r["labels"]} for r in trainer.train_dataset]
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return prepared, trainer.trace


def stories_run(name="lora-run-stories260k"):
    folder = fresh_folder(name)
    tok = stories.tokenizer()
    rows, masks, facts = prepare_nl2bash(tok)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    given = dict(max_steps=30, per_device_train_batch_size=8, gradient_accumulation_steps=2, learning_rate=1e-3,
                 lr_scheduler_type="cosine", warmup_steps=0.05)
    args = arguments(**given)
    seed(30)
    model = get_peft_model(stories.model(), config)
    save_adapter(model, folder / "initial")
    trace, trainer = train(model, rows, args)
    save_adapter(model, folder / "final")

    prepared, trl_trace = through_trl(tok, config, folder / "initial", given)
    assert prepared == rows, "TRL prepares other rows than we do"
    agreement = spread(trace, trl_trace)
    assert [e["learningRate"] for e in trace] == [e["learningRate"] for e in trl_trace]
    assert agreement["loss"] < 1e-5 and agreement["gradNorm"] < 1e-4, agreement

    write_json(f"{name}/run.json", {
        "case": "LoRA on stories260k, nl2bash, 30 updates", "versions": VERSIONS, "tolerance": TOLERANCE,
        "base": f"{SHARED_NAME}/models/stories260k", "dataset": f"{SHARED_NAME}/datasets/nl2bash/train.jsonl, first 480 lines in file order",
        "conventions": {
            **TRACE,
            "tokens": "completion gets eos </s>; ids = tokenizer(prompt + completion), bos 1 from the post-processor; prompt and completion are joined with nothing between",
            "mask": "1 from the first token where tokenizer(prompt) and tokenizer(prompt + completion) differ (common prefix length); labels -100 where 0",
            "truncation": "keep_start to 160 tokens, then rows without any label are dropped",
            "files": "initial/, final/: adapter folders as PEFT saves them",
        },
        "settings": {**settings(args, trainer), "loraR": 8, "loraAlpha": 16, "targetModules": ["q_proj", "v_proj"], "maxLength": 160,
                     "trainableParameters": sum(p.numel() for p in model.parameters() if p.requires_grad)},
        "data": {"rowsRead": 480, "rowsKept": len(rows), "tokens": sum(len(r["input_ids"]) for r in rows), "completionTokens": sum(sum(m) for m in masks), **facts},
        "firstRows": [{"input_ids": r["input_ids"], "completionMask": m} for r, m in zip(rows[:4], masks)],
        "agreementWithSFTTrainer": agreement,
        "trace": trace,
    })
    report(name, trace)


def main():
    if (SHARED / "models" / "stories260k").is_dir():
        stories_run()
    else:
        print(f"  no {SHARED_NAME}/models/stories260k: run skipped, its fixture kept")

    seed(31)
    tiny_run("lora-run-tiny", patterned_rows(64, masked=2),
             LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
             arguments(max_steps=30, per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=1e-3,
                       lr_scheduler_type="cosine", warmup_steps=0.1))
    seed(32)
    tiny_run("lora-run-tiny-2", patterned_rows(62, masked=0),
             LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True),
             arguments(max_steps=30, per_device_train_batch_size=3, gradient_accumulation_steps=1, learning_rate=1e-3,
                       lr_scheduler_type="linear", warmup_steps=3, weight_decay=0.01, max_grad_norm=0.3))
