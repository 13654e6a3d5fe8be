"""Rows 91 to 93 and whole runs of TRL's GRPOTrainer and RLOOTrainer with recorded completions.

Completions come from a list in the place of the generator, and `shuffle_sequence_dict` (which permutes the
completions of a rollout) leaves them in their order; everything else is TRL's.
"""

import tempfile

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, PrinterCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer import grpo_trainer, rloo_trainer

from common import VERSIONS, case, fresh_folder, number, seed, tensor, write_json, write_row
from rows_lora_runs import save_adapter
from tiny import load

EOS = 2
MAX_COMPLETION = 8
NUM_PROMPTS = 8
ROLLOUTS = 12
FOLDER = "align-grpo"
SKIPPED = {"epoch", "learning_rate", "num_tokens", "step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}


def words():
    vocab = {"[end]" if i == EOS else f"w{i}": i for i in range(256)}
    tok = Tokenizer(WordLevel(vocab, unk_token="w0"))
    tok.pre_tokenizer = Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="[end]", pad_token="[end]")
    words.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w7 {% endif %}"
    return words


def even(completion_ids, **_):
    """The share of even ids."""
    return [sum(i % 2 == 0 for i in ids) / len(ids) for ids in completion_ids]


def short(completion_ids, **_):
    """1 / length; no opinion on completions of more than 6 tokens."""
    return [1 / len(ids) if len(ids) <= 6 else None for ids in completion_ids]


def ones(completions, **_):
    """The share of words that begin with w1; of conversations too."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [sum(w.startswith("w1") for w in text.split()) / max(len(text.split()), 1) for text in texts]


def prompts():
    generator = torch.Generator().manual_seed(91)
    lengths = torch.randint(2, 7, (NUM_PROMPTS,), generator=generator).tolist()
    return [torch.randint(3, 256, (n,), generator=generator).tolist() for n in lengths]


def rollouts():
    """Completions of 1 to 8 tokens, two thirds of which end."""
    generator = torch.Generator().manual_seed(92)
    draw = lambda low, high, n=1: torch.randint(low, high, (n,), generator=generator).tolist()
    rows = []
    for _ in range(ROLLOUTS):
        rollout = []
        for _ in range(16):
            ends = draw(0, 3)[0] > 0
            length = draw(2, MAX_COMPLETION + 1)[0] if ends else MAX_COMPLETION
            rollout.append(draw(3, 256, length - 1 if ends else length) + ([EOS] if ends else []))
        rows.append(rollout)
    return rows


class Recorded:
    """The generator that answers from the list, and the trace of what was logged."""

    def _generate_single_turn(self, prompt_ids, *_, **__):
        at = getattr(self, "drawn", 0)
        self.drawn = at + 1
        return [list(ids) for ids in ROWS[at][: len(prompt_ids)]], None

    def log(self, logs, start_time=None):
        super().log(logs, start_time)
        if "loss" in logs:
            kept = {k: number(v) for k, v in logs.items() if k not in SKIPPED}
            self.trace.append(kept)


class Grpo(Recorded, GRPOTrainer):
    pass


class Rloo(Recorded, RLOOTrainer):
    def _generate_single_turn(self, *given, **more):
        return super()._generate_single_turn(*given, **more)[0]


PROMPTS = prompts()
ROWS = rollouts()
for module in (grpo_trainer, rloo_trainer):
    module.shuffle_sequence_dict = lambda rows: rows
    module.create_model_from_path = lambda *_, **__: load()  # the reference: the model as it was, by its name


def rows(kind):
    texts = [" ".join(f"w{i}" for i in ids) for ids in PROMPTS]
    return [{"prompt": [{"role": "user", "content": text}] if kind == "chat" else text} for text in texts]


def trainer_of(cls, config, functions, model=None, peft=None, kind="ids", **given):
    tok = words()
    data = Dataset.from_list(rows(kind))
    args = config(
        output_dir=tempfile.mkdtemp(prefix="parity-"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, logging_steps=1, seed=0, dataloader_pin_memory=False, shuffle_dataset=False,
        max_completion_length=MAX_COMPLETION, **given,
    )
    seed(31)
    trainer = cls(model=model or load(), reward_funcs=functions, args=args, train_dataset=data, processing_class=tok, peft_config=peft)
    trainer.trace = []
    trainer.remove_callback(PrinterCallback)
    return trainer


SIZES = dict(per_device_train_batch_size=8, num_generations=4, max_steps=8, learning_rate=2e-3)
TWO = dict(per_device_train_batch_size=4, gradient_accumulation_steps=2)
TWICE = dict(num_iterations=2, learning_rate=1e-2)
BOTH = [even, short]

FULL = {
    "dapo": dict(),
    "dapo-accumulated": dict(**TWO),
    "grpo": dict(loss_type="grpo", **TWO),
    "bnpo": dict(loss_type="bnpo", **TWO),
    "dr_grpo": dict(loss_type="dr_grpo", **TWO),
    "cispo": dict(loss_type="cispo", epsilon_high=1.2, **TWICE),
    "sapo": dict(loss_type="sapo", **TWICE),
    "luspo": dict(loss_type="luspo", importance_sampling_level="sequence", **TWICE),
    "vespo": dict(loss_type="vespo", **TWICE),
    "gspo": dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=0.02, **TWICE),
    "two-iterations": dict(**TWICE),
    "two-sided": dict(delta=1.3, epsilon_high=0.28, **TWICE),
    "steps-per-generation": dict(per_device_train_batch_size=4, steps_per_generation=2, learning_rate=1e-2),
    "four-steps": dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4, num_iterations=2, learning_rate=5e-3),
    "mask-truncated": dict(mask_truncated_completions=True, **TWO),
    "mask-truncated-bnpo": dict(mask_truncated_completions=True, loss_type="bnpo"),
    "scale-batch": dict(scale_rewards="batch"),
    "scale-none": dict(scale_rewards="none"),
    "two-rewards": dict(functions=BOTH, reward_weights=[1.0, 0.5]),
    "normalize-then-sum": dict(functions=BOTH, reward_weights=[1.0, 0.5], multi_objective_aggregation="normalize_then_sum"),
    "temperature": dict(temperature=0.7),
    "top-entropy": dict(top_entropy_quantile=0.4, **TWICE),
    "off-policy": dict(off_policy_mask_threshold=0.02, **TWICE),
    "beta": dict(beta=0.04, num_iterations=2, learning_rate=5e-3),
    "text": dict(kind="text", functions=[ones, short]),
    "chat": dict(kind="chat", functions=[ones], num_iterations=2),
}

FULL_RLOO = {
    "rloo-no-kl": dict(beta=0.0),
    "rloo": dict(num_iterations=2, learning_rate=5e-3),
}

LORA = {
    "lora-dapo": dict(beta=0.04),
    "lora-grpo": dict(beta=0.04, loss_type="grpo", num_iterations=2, use_bias_correction_kl=False),
    "lora-gspo": dict(beta=0.04, loss_type="grpo", importance_sampling_level="sequence", num_iterations=2),
    "lora-dr-grpo": dict(beta=0.04, loss_type="dr_grpo", scale_rewards="none", mask_truncated_completions=True, **TWO),
    "lora-cispo": dict(beta=0.04, loss_type="cispo", epsilon_high=5.0, num_iterations=2),
    "lora-no-kl": dict(beta=0.0, loss_type="bnpo"),
}

LORA_RLOO = {
    "lora-rloo": dict(beta=0.05),
    "lora-rloo-twice": dict(beta=0.05, num_iterations=2),
    "lora-rloo-whitened": dict(beta=0.2, normalize_advantages=True, reward_clip_range=(0.2, 0.6), mask_truncated_completions=True, functions=BOTH, **TWO),
}


def lora():
    return LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])


def run(method, name, peft, functions=(even,), kind="ids", **given):
    cls, config = (Rloo, RLOOConfig) if method == "rloo" else (Grpo, GRPOConfig)
    settings = {**SIZES, **({"learning_rate": 1e-2} if peft else {}), **given}
    trainer = trainer_of(cls, config, list(functions), peft=lora() if peft else None, kind=kind, **settings)
    if peft and not run.saved:
        save_adapter(trainer.model, run.folder / "adapter")
        run.saved = True
    trainer.train()
    first, last = trainer.trace[0], trainer.trace[-1]
    print(f"  {name}: loss {first['loss']:.5f} -> {last['loss']:.5f}, grad norm {last['grad_norm']:.4f}, rollouts {trainer.drawn}")
    return {"name": name, "method": method, "kind": kind, "lora": peft, "functions": [f.__name__ for f in functions], "settings": settings, "trace": trainer.trace}


def runs():
    run.folder = fresh_folder(FOLDER)
    run.saved = False
    words().save_pretrained(run.folder / "tokenizer")
    cases = [run("grpo", name, False, **given) for name, given in FULL.items()]
    cases += [run("rloo", name, False, **given) for name, given in FULL_RLOO.items()]
    cases += [run("grpo", name, True, **given) for name, given in LORA.items()]
    cases += [run("rloo", name, True, **given) for name, given in LORA_RLOO.items()]
    write_json(f"{FOLDER}/runs.json", {
        "case": "whole runs of TRL's GRPOTrainer and RLOOTrainer with recorded completions", "versions": VERSIONS, "base": "tiny-llama",
        "tolerance": {"loss": {"rel": 1e-4, "floor": 0.1}, "gradNorm": {"rel": 1e-3}, "metrics": {"rel": 1e-3}},
        "conventions": {
            "prompts": "ids of each row, in file order, no shuffle; prompts of a rollout after each other",
            "rollouts": "completions of each rollout of a run in the order of its rows; a run that draws fewer takes the first ones",
            "kind": "ids: rows of token ids; text: rows of their words, tokenizer/; chat: one message of the user with them",
            "functions": "ones: the share of words that begin with w1; even: the share of even ids; short: 1 / length, no opinion above 6 tokens",
            "order": "completions of a rollout are not permuted (TRL permutes them before it cuts them into micro-batches)",
            "adapter": "the LoRA adapter before the first update",
        },
        "prompts": PROMPTS, "rollouts": ROWS, "cases": cases,
    })


def advantage_cases(cls, config, variants, matrices):
    cases = []
    for name, rewards, functions in matrices:
        size = len(rewards[0])
        given = [lambda column=column, **_: [None if v is None else v for v in column] for column in rewards]
        for label, options in variants.items():
            trainer = trainer_of(cls, config, given, per_device_train_batch_size=size, num_generations=4, max_steps=1, **options)
            inputs = [{"prompt": "w5 w6"} for _ in range(size)]
            trainer.model.train()
            out = trainer._generate_and_score_completions(inputs)
            metrics = {k: number(v[-1]) for k, v in trainer._metrics["train"].items() if "reward" in k}
            cases.append({"name": f"{name}, {label}", "rewards": rewards, "settings": options, "advantages": tensor(out["advantages"]), "metrics": metrics})
    return cases


MATRICES = [
    ("1, 0, 0, 1", [[1.0, 0.0, 0.0, 1.0]], 1),
    ("two groups", [[1.0, 0.0, 0.25, 1.0, 0.5, 0.5, 0.5, 0.5]], 1),
    ("no opinion", [[1.0, None, 0.25, 1.0, None, None, 0.5, 0.75]], 1),
    ("one alone", [[None, None, None, 1.0, 0.0, 0.5, None, 0.25]], 1),
    ("two functions", [[1.0, None, 0.25, None, 0.5, 0.5, 0.75, 0.0], [0.5, 2.0, None, None, -1.0, 0.5, 0.5, 0.25]], 2),
]


def row91():
    variants = {"group": dict(), "batch": dict(scale_rewards="batch"), "none": dict(scale_rewards="none"),
                "normalize_then_sum": dict(multi_objective_aggregation="normalize_then_sum")}
    cases = advantage_cases(Grpo, GRPOConfig, variants, MATRICES)
    write_row(91, "grpo-advantages", "group-relative advantages by GRPOTrainer", {"abs": 1e-6, "rel": 1e-5}, cases)


def row93():
    variants = {"leave one out": dict(beta=0.0), "normalized": dict(beta=0.0, normalize_advantages=True), "clipped": dict(beta=0.0, reward_clip_range=(0.1, 0.6))}
    cases = advantage_cases(Rloo, RLOOConfig, variants, MATRICES)
    write_row(93, "rloo-advantages", "leave-one-out advantages by RLOOTrainer", {"abs": 1e-6, "rel": 1e-5}, cases)


def row92():
    """GRPOTrainer._compute_loss of given log-probabilities, in float64, and its gradient."""
    generator = torch.Generator().manual_seed(7)
    draw = lambda: torch.randn(4, 6, generator=generator, dtype=torch.float64)
    logps = -1.5 + 0.5 * draw()
    old, ref, sampling = logps + 0.3 * draw(), logps + 0.4 * draw(), logps + 0.3 * draw()
    entropies = 2 + 0.5 * draw().abs()
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    advantages = torch.tensor([1.2, -0.7, 0.4, -0.9], dtype=torch.float64)
    types = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
    variants = {
        "": dict(), "on policy": dict(), "sequence": dict(importance_sampling_level="sequence"), "delta": dict(delta=1.25, epsilon_high=0.28),
        "beta": dict(beta=0.04), "beta, sequence": dict(beta=0.04, importance_sampling_level="sequence"),
        "beta, no correction": dict(beta=0.04, use_bias_correction_kl=False),
        "top entropy": dict(top_entropy_quantile=0.4), "off policy": dict(off_policy_mask_threshold=0.05),
    }
    cases = []
    model = load()
    for loss_type in types:
        for label, options in variants.items():
            if label == "delta" and loss_type in ("cispo", "sapo", "vespo"):
                continue
            trainer = trainer_of(Grpo, GRPOConfig, [even], model=model, per_device_train_batch_size=4, num_generations=4, max_steps=1, loss_type=loss_type, **options)
            trainer.model.train()
            trainer.current_gradient_accumulation_steps = 1
            x = logps.clone().requires_grad_()
            trainer._get_per_token_logps_and_entropies = lambda *_, **__: (x, entropies, None)
            ids = torch.full((4, 6), 5)
            inputs = {"prompt_ids": ids[:, :2], "prompt_mask": torch.ones_like(ids[:, :2]), "completion_ids": ids, "completion_mask": mask,
                      "advantages": advantages, "num_items_in_batch": mask.sum(), "ref_per_token_logps": ref, "sampling_per_token_logps": sampling}
            if label != "on policy":
                inputs["old_per_token_logps"] = old
            loss = trainer._compute_loss(trainer.model, inputs)
            loss.backward()
            metrics = {k: number(v[-1]) for k, v in trainer._metrics["train"].items()}
            cases.append({"name": f"{loss_type}{', ' + label if label else ''}", "settings": {"loss_type": loss_type, **options}, "isOnPolicy": label == "on policy",
                          "loss": number(loss), "grad": tensor(x.grad), "metrics": metrics})
    shared = {"logps": tensor(logps), "old": tensor(old), "ref": tensor(ref), "sampling": tensor(sampling), "entropies": tensor(entropies), "mask": tensor(mask), "advantages": tensor(advantages)}
    write_row(92, "grpo-losses", "losses of GRPOTrainer._compute_loss", {"abs": 1e-9, "rel": 1e-6}, cases, inputs=shared, maxCompletionLength=MAX_COMPLETION)


def main():
    disable_progress_bars()
    row91()
    row92()
    row93()
    runs()


if __name__ == "__main__":
    main()
