"""Rows 420 and 421: distillation. TRL's generalised Jensen-Shannon divergence, and whole runs of its GKD and distillation trainers.

The student is fixtures/tiny-llama, the teacher fixtures/tiny-llama-tied. A GKD run reads the completions of its rows
(lmbda 0). A run of the distillation trainer is on-policy there: its completions are drawn before and handed to it.
A run is {name, trainer, args, rows, trace}: args in camelCase, trace by metric, one number each update; no dropout.
"""

import math
import random
import re
import tempfile

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer, PrinterCallback
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from common import FIXTURES, case, grid, seed, write_row
from tiny import load

EOS = 2
LOST = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss", "epoch", "step_time"}
SHARED_ARGS = dict(max_steps=8, per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=1e-3, logging_steps=1,
                   seed=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True)


def function_cases():
    seed(420)
    cases = []
    jsd = GKDTrainer.generalized_jsd_loss
    for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
        for temperature in (1.0, 2.5):
            student, teacher = grid(2, 4, 7, scale=2.0).requires_grad_(), grid(2, 4, 7, scale=2.0)
            labels = torch.tensor([[-100, 3, 1, 0], [2, -100, 6, -100]])
            per_value = jsd(student, teacher, None, beta, temperature, reduction="none")
            loss = jsd(student, teacher, labels, beta, temperature, reduction="sum")
            loss.backward()
            cases.append(case(f"beta {beta}, temperature {temperature}", {"student": student, "teacher": teacher, "labels": labels},
                              {"beta": beta, "temperature": temperature}, {"perToken": per_value.sum(-1), "loss": loss}, {"student": student.grad}))
    student, teacher = (grid(1, 2, 5) * 60).requires_grad_(), grid(1, 2, 5) * 60
    loss = jsd(student, teacher, None, 0.3, 1.0, reduction="sum")
    loss.backward()
    cases.append(case("far apart", {"student": student, "teacher": teacher, "labels": torch.tensor([[0, 1]])}, {"beta": 0.3, "temperature": 1.0},
                      {"perToken": jsd(student, teacher, None, 0.3, 1.0, reduction="none").sum(-1), "loss": loss}, {"student": student.grad}))
    return cases


def rows(count):
    """Ids of prompts and completions of random lengths; every third completion has no end."""
    ids = lambda n: [random.randint(3, 255) for _ in range(n)]
    return [{"prompt_ids": ids(random.randint(2, 7)), "completion_ids": ids(random.randint(1, 9)) + ([] if i % 3 == 2 else [EOS])} for i in range(count)]


def tokenizer():
    tok = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "bpe-llama3")
    tok.pad_token = tok.convert_ids_to_tokens(0)
    tok.eos_token = tok.convert_ids_to_tokens(EOS)
    return tok


def camel(name):
    return name if "/" in name else re.sub(r"_(\w)", lambda m: m[1].upper(), name)


def traced(trainer):
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = [name for name in logs[0] if name not in LOST | {"step"}]
    return {camel(name): [entry[name] for entry in logs] for name in names}


def pad(lists, value, width):
    return torch.tensor([list(x) + [value] * (width - len(x)) for x in lists])


def collate(examples):
    texts = [e["prompt_ids"] + e["completion_ids"] for e in examples]
    labels = [[-100] * len(e["prompt_ids"]) + e["completion_ids"] for e in examples]
    width = max(map(len, texts))
    first = max(len(e["prompt_ids"]) for e in examples)
    return {"input_ids": pad(texts, 0, width), "attention_mask": pad([[1] * len(t) for t in texts], 0, width), "labels": pad(labels, -100, width),
            "prompts": pad([e["prompt_ids"] for e in examples], 0, first), "prompt_attention_mask": pad([[1] * len(e["prompt_ids"]) for e in examples], 0, first)}


def models():
    seed(420)
    return load("tiny-llama"), load("tiny-llama-tied")


def gkd(name, data, **own):
    student, teacher = models()
    with tempfile.TemporaryDirectory() as out:
        args = GKDConfig(output_dir=out, lmbda=0.0, max_length=64, eos_token=None, pad_token=None, dataset_kwargs={"skip_prepare_dataset": True}, **SHARED_ARGS, **own)
        trainer = GKDTrainer(model=student, teacher_model=teacher, args=args, data_collator=collate, train_dataset=Dataset.from_list(data), processing_class=tokenizer())
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(data)
        trace = traced(trainer)
    return {"name": name, "trainer": "GKD", "args": {"lmbda": 0.0, "temperature": 1.0, **{camel(k): v for k, v in own.items()}}, "rows": "rows", "trace": trace}


class Recorded(DistillationTrainer):
    """Completions that were drawn before."""

    recorded = None

    def _tokenize_prompts(self, prompts):
        return [self.recorded[int(p)]["prompt_ids"] for p in prompts], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, has_tool_images=False):
        return [next(r["completion_ids"] for r in self.recorded if r["prompt_ids"] == ids) for ids in prompt_ids]


def distillation(name, data, **own):
    student, teacher = models()
    student.generation_config.eos_token_id = EOS
    with tempfile.TemporaryDirectory() as out:
        args = DistillationConfig(output_dir=out, max_completion_length=10, shuffle_dataset=False, **SHARED_ARGS, **own)
        set_of = Dataset.from_list([{"prompt": str(i)} for i in range(len(data))])
        trainer = Recorded(model=student, teacher_model=teacher, args=args, train_dataset=set_of, processing_class=tokenizer())
        trainer.recorded = data
        trace = traced(trainer)
    return {"name": name, "trainer": "Distillation", "args": {camel(k): v for k, v in own.items()}, "rows": "rows", "trace": trace}


def main():
    disable_progress_bars()
    write_row(420, "generalized-jsd", "generalised Jensen-Shannon divergence of GKDTrainer", {"abs": 1e-9, "rel": 1e-6}, function_cases())
    seed(421)
    data = rows(32)
    assert len({tuple(r["prompt_ids"]) for r in data}) == len(data)
    runs = [
        gkd("off-policy, JSD", data, beta=0.5),
        gkd("off-policy, forward KL", data, beta=0.0),
        distillation("on-policy, reverse KL", data, beta=1.0),
        distillation("on-policy, temperature 2", data, beta=0.3, temperature=2.0),
    ]
    for run in runs:
        assert all(math.isfinite(x) for xs in run["trace"].values() for x in xs), run["name"]
    tolerance = {"reference": {"loss": 1e-4, "gradNorm": 1e-3}, "metrics": 1e-3, "floor": 0.1}
    write_row(421, "distillation-runs", "runs of GKDTrainer and DistillationTrainer", tolerance, runs, sets={"rows": data},
              models={"student": "tiny-llama", "teacher": "tiny-llama-tied"})


if __name__ == "__main__":
    main()
