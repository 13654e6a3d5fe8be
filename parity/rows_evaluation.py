"""Rows 31, 33-35, 123: evaluation loss, early stopping, rotation, trainer_state.json, scores of benchmarks."""

import json
import math
import re
import string
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from common import E, S, case, seed, write_row
from recording import RecordingTrainer, arguments, collate
from rows_lora_runs import patterned_rows
from tiny import load


def eval_rows():
    """Five rows of unequal lengths; Trainer.evaluate with batches of 2, 3 and 5, and each row by itself."""
    seed(31)
    rows = patterned_rows(5, masked=2)
    model = load()
    model.eval()
    sums, counts = [], []
    for row in rows:
        batch = collate([row])
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.double()
        labels = batch["labels"][:, 1:]
        nll = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")
        right = (logits[:, :-1].argmax(-1) == labels).sum()
        sums.append(nll.item())
        counts.append((int((labels != -100).sum()), int(right)))
    trainers = {}
    for size in [2, 3, 5]:
        trainer = RecordingTrainer(model=load(), args=arguments(per_device_eval_batch_size=size), eval_dataset=rows, data_collator=collate)
        trainers[str(size)] = trainer.evaluate()["eval_loss"]
    tokens = sum(n for n, _ in counts)
    write_row(31, "evaluation-loss", "evaluation loss and token accuracy, and what Trainer.evaluate says", S, [
        case("five-rows", attrs={"rows": rows}, expected={
            "sums": sums, "tokens": [n for n, _ in counts], "correct": [c for _, c in counts],
            "tokenWeighted": sum(sums) / tokens, "meanTokenAccuracy": sum(c for _, c in counts) / tokens, "trainer": trainers})
    ], {"trainer": "eval_loss by batch size: each batch's mean counts as often as the batch has rows"})


def early_stopping():
    cases = []
    sequences = [
        ("patience-2", [1, 0.9, 0.95, 0.94, 0.96], 2, 0.01, False),
        ("small-gains", [1, 0.995, 0.99, 0.7, 0.71], 3, 0.1, False),
        ("greater", [0.1, 0.3, 0.29, 0.31, 0.305], 2, 0.0, True),
        ("equal", [0.5, 0.5, 0.5], 2, 0.0, False),
        ("exactly-the-threshold", [1.0, 0.75, 0.5], 2, 0.25, False),
    ]
    for name, values, patience, threshold, greater in sequences:
        callback = EarlyStoppingCallback(patience, threshold)
        args = TrainingArguments(output_dir=tempfile.mkdtemp(), use_cpu=True, metric_for_best_model="eval_loss", greater_is_better=greater)
        state, control, trace = TrainerState(), TrainerControl(), []
        for value in values:
            callback.on_evaluate(args, state, control, metrics={"eval_loss": value})
            trace.append([callback.early_stopping_patience_counter, control.should_training_stop])
            better = np.greater if greater else np.less
            if state.best_metric is None or better(value, state.best_metric):
                state.best_metric = value
        cases.append(case(name, attrs={"values": values, "patience": patience, "threshold": threshold, "greaterIsBetter": greater},
                          expected={"counters": [c for c, _ in trace], "stops": [bool(s) for _, s in trace], "state": callback.state()}))
    write_row(33, "early-stopping", "EarlyStoppingCallback over sequences of evaluations", E, cases)


def rotation():
    cases = []
    for steps, best, limit in [([1, 2, 3], None, 1), ([1, 2, 3], 1, 1), ([1, 2, 3, 4], 2, 2), ([1, 2, 3, 4], 4, 2),
                               ([10, 9, 100, 20], 9, 3), ([5], 5, 1), ([1, 2, 3], None, 5)]:
        with tempfile.TemporaryDirectory() as folder:
            for step in steps:
                Path(folder, f"checkpoint-{step}").mkdir()
            rotate_checkpoints(folder, limit, None if best is None else str(Path(folder, f"checkpoint-{best}")))
            kept = sorted(int(p.name.split("-")[1]) for p in Path(folder).iterdir())
        cases.append(case(f"{steps}-best-{best}-limit-{limit}", attrs={"steps": steps, "best": best, "limit": limit}, expected={"kept": kept}))
    write_row(34, "rotation", "which checkpoints stay", E, cases)


def state_json():
    """A state as transformers saves it, with what its rows look like."""
    state = TrainerState(
        epoch=1.5, global_step=9, max_steps=12, logging_steps=3, eval_steps=3, save_steps=3, train_batch_size=4, num_train_epochs=2,
        num_input_tokens_seen=1234, best_metric=0.75, best_global_step=6, best_model_checkpoint="out/checkpoint-6", total_flos=0,
        stateful_callbacks={"EarlyStoppingCallback": EarlyStoppingCallback(2, 0.01).state()})
    state.log_history = [
        {"loss": 2.5, "grad_norm": 1.25, "learning_rate": 5e-05, "epoch": 0.5, "step": 3},
        {"eval_loss": 0.75, "eval_math_loss": 0.5, "eval_runtime": 0.1, "epoch": 1.0, "step": 6},
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "trainer_state.json"))
        state.save_to_json(path)
        text = Path(path).read_text()
    write_row(35, "trainer-state", "trainer_state.json as TrainerState.save_to_json writes it", E, [case("state", attrs={"text": text})])


def exact_match(predictions, references, regexes=None, case_=False, punctuation=False, numbers=False):
    """The definition that lm_eval 0.4.13 gives exact_match, written out: it is not installed here."""
    def plain(x):
        for r in regexes or []:
            x = re.sub(r, "", x)
        x = x.lower() if case_ else x
        x = x.translate(str.maketrans("", "", string.punctuation)) if punctuation else x
        return x.translate(str.maketrans("", "", string.digits)) if numbers else x
    return [int(plain(p) == plain(r)) for p, r in zip(predictions, references)]


def scores():
    """acc, acc_norm (per character), acc_bytes, exact_match, perplexities and standard errors, by lm_eval's definitions."""
    questions = [
        (["a", "abcdef", "abc"], [-2.0, -6.0, -3.3], 0),
        (["yes", "no, never"], [-3.0, -4.0], 1),
        (["größer", "small"], [-5.9, -5.0], 0),
        (["x", "y"], [-1.5, -1.5], 0),
        (["日本", "ab"], [-3.0, -3.5], [0]),
    ]
    rows = []
    for choices, lls, gold in questions:
        lls = np.array(lls)
        lengths = np.array([float(len(c)) for c in choices])
        sizes = np.array([float(len(c.encode())) for c in choices])
        gold = gold if isinstance(gold, list) else [gold]
        rows.append({k: float(int(np.argmax(v)) in gold) for k, v in {"acc": lls, "accNorm": lls / lengths, "accBytes": lls / sizes}.items()})
    def stderr(values):
        mean = sum(values) / len(values)
        return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) / math.sqrt(len(values))
    summary = {k: sum(r[k] for r in rows) / len(rows) for k in rows[0]}
    summary |= {f"{k}Stderr": stderr([r[k] for r in rows]) for k in rows[0]}
    matches = []
    for options in [{}, {"case_": True}, {"punctuation": True}, {"numbers": True}, {"case_": True, "punctuation": True}, {"regexes": [r"\s+", "the"]}]:
        pairs = [("Paris", "paris"), ("the 42.", "42"), ("A, B!", "A B"), ("x1", "x2"), ("a  b", "ab")]
        names = {"case_": "ignoreCase", "punctuation": "ignorePunctuation", "numbers": "ignoreNumbers", "regexes": "regexesToIgnore"}
        matches.append({"options": {names[k]: v for k, v in options.items()}, "pairs": pairs, "scores": exact_match(*zip(*pairs), **options)})
    texts, lls = ["one two  three", "vier fünf\n"], [-12.5, -9.25]
    words = sum(len(re.split(r"\s+", t)) for t in texts)
    size = sum(len(t.encode()) for t in texts)
    write_row(123, "scores", "multiple choice, exact match, perplexities", S, [
        case("choices", attrs={"questions": [{"choices": c, "logLikelihoods": l, "answer": g} for c, l, g in questions]}, expected={"rows": rows, "summary": summary}),
        case("exact-match", attrs={"sets": matches}),
        case("texts", attrs={"texts": texts, "logLikelihoods": lls}, expected={
            "wordPerplexity": math.exp(-sum(lls) / words), "bytePerplexity": math.exp(-sum(lls) / size), "bitsPerByte": -sum(lls) / size / math.log(2)}),
    ], {"source": "definitions of lm_eval 0.4.13: api/task.py process_results, api/metrics.py; acc_norm divides by characters"})


def main():
    eval_rows()
    early_stopping()
    rotation()
    state_json()
    scores()
