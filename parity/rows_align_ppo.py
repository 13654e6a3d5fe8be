"""Rows 86-90: the parts of PPO, by the code of TRL 1.12.0, the last with PPO, and 0.11.4, whose KL coefficient adapts;
and runs of its PPOTrainer on tiny-llama with recorded answers.

Both lie beside the installed TRL, each in a folder of its own, which a variable names:

    pip install --no-deps --target FOLDER trl==1.12.0      TRL_1_12=FOLDER
    pip install --no-deps --target OTHER trl==0.11.4       TRL_0_11=OTHER
"""

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

FOLDERS = [os.environ.get(name) for name in ("TRL_1_12", "TRL_0_11")]


def main():
    if not all(FOLDERS):
        print("  TRL_1_12 or TRL_0_11 is not set: skipped, the committed files stay")
        return
    # another TRL may be imported already
    env = {**os.environ, "PYTHONPATH": FOLDERS[0], "TRL_EXPERIMENTAL_SILENCE": "1"}
    subprocess.run([sys.executable, __file__], env=env, check=True)


def excerpt(source, first, then):
    """The lines of a function from the one with `first` to before the one with `then`, to be run by themselves."""
    lines = inspect.getsource(source).splitlines()
    start = next(i for i, line in enumerate(lines) if first in line)
    end = next(i for i, line in enumerate(lines) if i > start and then in line)
    return compile(textwrap.dedent("\n".join(lines[start:end])), "TRL", "exec")


def run(code, **names):
    exec(code, names)
    return SimpleNamespace(**names)


def rows():
    import torch
    from common import E, S, case, grid, seed, write_row
    from trl.experimental.ppo import ppo_trainer as trl
    from trl.experimental.utils import first_true_indices

    train = trl.PPOTrainer.train
    names = dict(torch=torch, masked_mean=trl.masked_mean, masked_whiten=trl.masked_whiten, INVALID_LOGPROB=trl.INVALID_LOGPROB)
    estimate = excerpt(train, "lastgaelam = 0", "advantages = masked_whiten(")
    losses = excerpt(train, "vpredclipped = torch.clamp(", "accelerator.backward(loss)")
    clipped = excerpt(train, "pg_clipfrac = masked_mean(", "prob_dist =")
    place = excerpt(train, "# Response Processing 3", "# 5. whiten rewards")

    def advantages(name, rewards, values, gamma, lam):
        got = run(estimate, **names, responses=rewards, rewards=rewards, values=values, args=SimpleNamespace(gamma=gamma, lam=lam))
        return case(name, {"rewards": rewards, "values": values}, {"gamma": gamma, "lam": lam}, {"advantages": got.advantages, "returns": got.returns})

    seed(86)
    f64 = torch.float64
    short = torch.tensor([[0.0, 0.0, 1.0]], dtype=f64), torch.tensor([[0.5, 0.4, 0.3]], dtype=f64)
    write_row(86, "gae", "generalised advantage estimation", S, [
        advantages("by-hand", *short, 1.0, 0.95),
        *(advantages(f"gamma-{gamma}-lam-{lam}", grid(3, 9), grid(3, 9), gamma, lam) for gamma, lam in [(1.0, 1.0), (0.97, 0.9), (0.9, 0.0)]),
    ], {"outputs": "returns are of before whitening; beyond the last place the value is 0"})

    seed(87)
    masks = [torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool(), torch.ones(2, 4).bool(), torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]]).bool()]
    cases = []
    for name, mask in zip(["two-rows", "all", "two-numbers"], masks):
        values = grid(2, 4, scale=3)
        cases.append(case(name, {"values": values, "mask": mask}, None, {
            "mean": trl.masked_mean(values, mask), "var": trl.masked_var(values, mask),
            "whitened": torch.masked_fill(trl.masked_whiten(values, mask), ~mask, 0),
            "scaled": torch.masked_fill(trl.masked_whiten(values, mask, shift_mean=False), ~mask, 0)}))
    write_row(87, "masked", "masked mean, variance and whitening", S, cases, {"outputs": "0 outside of the mask, as the trainer fills them; scaled: shift_mean=False"})

    def loss(name, tokens, value_terms, mask, mask_p1, **options):
        args = SimpleNamespace(**{"cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1, **options})
        new, old, advantage = tokens
        values, old_values, returns = value_terms
        new, values = new.clone().requires_grad_(True), values.clone().requires_grad_(True)
        micro_batch_inds = torch.arange(len(new))
        got = run(losses, **names, args=args, new_logprobs=new, mb_logprobs=old, mb_advantage=advantage, vpred=values, mb_values=old_values,
                  mb_return=returns, padding_mask=~mask, padding_mask_p1=~mask_p1, micro_batch_inds=micro_batch_inds)
        grads = torch.autograd.grad(got.loss, [new, values])
        pg = run(clipped, **names, pg_losses=got.pg_losses, pg_losses2=got.pg_losses2, padding_mask=~mask, micro_batch_inds=micro_batch_inds)
        return case(name, {"logProbs": new, "oldLogProbs": old, "advantages": advantage, "values": values, "oldValues": old_values, "returns": returns,
                           "mask": mask, "maskP1": mask_p1}, {"cliprange": args.cliprange, "cliprangeValue": args.cliprange_value, "vfCoef": args.vf_coef},
                    {"policy": got.pg_loss, "value": got.vf_loss, "loss": got.loss, "policyClipped": pg.pg_clipfrac, "valueClipped": got.vf_clipfrac},
                    {"logProbs": grads[0], "values": grads[1]})

    seed(88)
    ratios = torch.tensor([[1.3, 0.7]], dtype=f64).log()
    zeros, both = torch.zeros(1, 2, dtype=f64), torch.ones(1, 2).bool()
    lengths = torch.tensor([[5], [3], [1]])
    mask, mask_p1 = torch.arange(5) < lengths, torch.arange(5) < lengths + 1
    write_row(88, "ppo-loss", "clipped policy and value losses", S, [
        loss("by-hand", (ratios, zeros, torch.tensor([[1.0, -1.0]], dtype=f64)), (zeros, zeros, zeros), both, both),
        *(loss(f"random-{i}", [grid(3, 5, scale=0.4) for _ in range(3)], [grid(3, 5, scale=0.6) for _ in range(3)], mask, mask_p1, **options)
          for i, options in enumerate([{}, {"cliprange": 0.05, "cliprange_value": 0.5, "vf_coef": 1.0}, {"cliprange": 1e-3, "cliprange_value": 1e-3}])),
    ], {"masks": "policy: the tokens of each answer; value: one place more where there is room"})

    def placed(name, responses, scores, *, estimator="k1", penalty=None, stop=2, eos=2, pad=0):
        postprocessed = responses if stop is None else trl.truncate_response(stop, pad, responses)
        lengths = first_true_indices(postprocessed == pad) - 1
        logprobs, ref_logprobs = grid(*responses.shape), grid(*responses.shape)
        trainer = SimpleNamespace(args=SimpleNamespace(missing_eos_penalty=penalty, kl_estimator=estimator, kl_coef=0.05), processing_class=SimpleNamespace(eos_token_id=eos))
        got = run(place, **names, self=trainer, args=trainer.args, responses=responses, postprocessed_responses=postprocessed, sequence_lengths=lengths,
                  logprobs=logprobs, ref_logprobs=ref_logprobs, scores=scores.clone(), values=torch.zeros_like(logprobs))
        return case(name, {"responses": responses, "scores": scores, "logProbs": logprobs, "refLogProbs": ref_logprobs},
                    {"estimator": estimator, "missingEosPenalty": penalty, "stopTokenId": stop, "eosTokenId": eos, "padTokenId": pad, "klCoef": 0.05},
                    {"answers": postprocessed, "lengths": lengths + 1, "scores": got.scores, "rewards": got.rewards, "kl": got.kl.sum(1)})

    seed(89)
    responses = torch.tensor([[5, 6, 2, 7, 2], [5, 2, 0, 0, 0], [8, 9, 7, 6, 5], [2, 0, 0, 0, 0]])
    scores = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=f64)
    write_row(89, "ppo-rewards", "score and KL on the tokens of answers", S, [
        placed("k1", responses, scores), placed("k3", responses, scores, estimator="k3"), placed("missing-eos", responses, scores, penalty=1.5),
        placed("stop-token", responses, scores, stop=6, penalty=1.0), placed("no-stop", responses[2:3], scores[2:3], stop=None, penalty=1.0),
    ], {"lengths": "tokens of an answer", "rewards": "[B, W]; the score lies behind the last token, on the last where the answer fills the width"})

    tree = ast.parse((Path(FOLDERS[1]) / "trl/trainer/utils.py").read_text())
    import numpy as np
    [controller] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "AdaptiveKLController"]
    made = run(compile(ast.Module([controller], []), "TRL", "exec"), np=np)

    def followed(name, initial, target, horizon, groups):
        kl = made.AdaptiveKLController(initial, target, horizon)
        coefficients = []
        for current, count in groups:
            kl.update(current, count)
            coefficients.append(kl.value)
        return {"name": name, "attrs": {"initial": initial, "targetKl": target, "horizon": horizon, "groups": groups}, "outputs": {"coefficients": coefficients}}

    write_row(90, "adaptive-kl", "the adaptive KL coefficient", E, [
        followed("by-hand", 0.2, 6.0, 10_000, [(9.0, 64)]),
        followed("path", 0.05, 3.0, 1000, [(9.0, 64), (3.1, 64), (2.9, 32), (0.1, 64), (-1.0, 64), (3.0, 64)]),
    ])


RUNS = {
    # the value head on the policy's trunk, which TRL is given as a value model that shares its backbone
    "shared-trunk": dict(),
    "shared-trunk-k3-whitened": dict(kl_estimator="k3", whiten_rewards=True, kl_coef=0.2, gamma=0.97, lam=0.9),
    "value-model-mini-batches": dict(num_mini_batches=2, missing_eos_penalty=1.0, temperature=1.3, vf_coef=0.5, cliprange=0.02, cliprange_value=0.02),
}
BATCH, WIDTH, GROUPS, EPOCHS, PAD, EOS = 8, 6, 4, 2, 0, 2


def runs():
    import logging
    import tempfile

    import numpy as np
    import torch
    from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json
    from datasets import Dataset
    from peft import PeftModel
    from tiny import LLAMA, load, shake
    from torch import nn
    from transformers import LlamaConfig, LlamaForSequenceClassification
    from trl.experimental.ppo import PPOConfig, ppo_trainer as trl

    logging.disable(logging.WARNING)
    np.random.permutation = np.arange  # mini-batches in the order of the group
    value_of, generated = trl.get_reward, trl.batch_generation

    class SharedValue(nn.Module):
        """A value head on the backbone of the policy, as PPOTrainer takes a value model."""

        base_model_prefix = "backbone"

        def __init__(self, policy):
            super().__init__()
            self.backbone = policy.base_model.model.model
            self.score = nn.Linear(policy.config.hidden_size, 1)
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def critic():
        small = dict(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, num_labels=1)
        model = shake(LlamaForSequenceClassification(LlamaConfig(**{**LLAMA, **small, "pad_token_id": PAD})))
        model.save_pretrained(fresh_folder("ppo-value-model"))
        return model

    def answers(count, generator):
        """Random tokens; half of the answers end before their last place."""
        rows = torch.randint(3, 256, (count, WIDTH), generator=generator)
        for i in range(0, count, 2):
            end = int(torch.randint(0, WIDTH - 1, (1,), generator=generator))
            rows[i, end] = EOS
            rows[i, end + 1:] = PAD
        return rows

    def score(ids):
        """The share of even tokens."""
        return sum(i % 2 == 0 for i in ids) / len(ids)

    def run(name, options):
        seed(86)
        generator = torch.Generator().manual_seed(86)
        policy = PeftModel.from_pretrained(load(), FIXTURES / "lora-run-tiny/initial", is_trainable=True)
        shared = name.startswith("shared")
        value_model = SharedValue(policy) if shared else critic()
        judge = nn.Linear(1, 1)
        prompts = [torch.randint(3, 256, (int(torch.randint(1, 6, (1,), generator=generator)),), generator=generator).tolist() for _ in range(BATCH * GROUPS)]
        args = PPOConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=BATCH, gradient_accumulation_steps=1, total_episodes=BATCH * GROUPS,
                         num_ppo_epochs=EPOCHS, learning_rate=5e-3, lr_scheduler_type="constant", response_length=WIDTH, stop_token="eos", bf16=False,
                         gradient_checkpointing=False, report_to="none", num_sample_generations=0, save_strategy="no", use_cpu=True, **options)
        temperature = args.temperature + 1e-7
        groups, updates, logs = [], [], []

        def recorded(model, queries, size, pad, config):
            both = torch.cat([queries, answers(len(queries), generator)], 1)
            logits = trl.forward(model, both, pad).logits[:, queries.shape[1] - 1:-1] / temperature
            own = [[i for i in row.tolist() if i != PAD] for row in both[:, queries.shape[1]:]]
            groups.append({"prompts": [[i for i in row.tolist() if i != PAD] for row in queries], "completions": own, "scores": [score(ids) for ids in own]})
            return both, logits

        def rated(model, both, pad, context):
            if model is not judge:
                return value_of(model, both, pad, context)
            scores = [score([i for i in row.tolist() if i != PAD]) for row in both[:, context:]]
            return None, torch.tensor(scores), None

        trl.batch_generation, trl.get_reward = recorded, rated
        collate = lambda rows: {"input_ids": torch.tensor([[PAD] * (5 - len(r["input_ids"])) + r["input_ids"] for r in rows])}
        tokenizer = SimpleNamespace(pad_token_id=PAD, eos_token_id=EOS)
        trainer = trl.PPOTrainer(args, tokenizer, policy, None, judge, Dataset.from_dict({"input_ids": prompts}), value_model, data_collator=collate,
                                 eval_dataset=Dataset.from_dict({"input_ids": prompts}))
        trainer.log = lambda metrics: logs.append({k: v for k, v in metrics.items() if k != "eps"})
        backward = trainer.accelerator.backward

        def noted(loss):
            backward(loss)
            grads = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            updates.append({"loss": loss.item(), "gradNorm": torch.sqrt(sum((g.double() ** 2).sum() for g in grads)).item()})

        trainer.accelerator.backward = noted
        trainer.train()
        trl.batch_generation, trl.get_reward = generated, value_of
        settings = {"batchSize": BATCH, "ppoEpochs": EPOCHS, "maxNewTokens": WIDTH, "learningRate": args.learning_rate,
                    **{key: getattr(args, key) for key in ["num_mini_batches", "temperature", "missing_eos_penalty", "kl_coef", "kl_estimator", "cliprange",
                                                            "cliprange_value", "vf_coef", "gamma", "lam", "whiten_rewards"]}}
        return {"name": name, "valueModel": None if shared else "ppo-value-model", "settings": settings, "groups": groups, "updates": updates, "logs": logs}

    cases = [run(name, options) for name, options in RUNS.items()]
    write_json("ppo-runs.json", {"versions": VERSIONS, "policy": "tiny-llama with lora-run-tiny/initial", "cases": cases})


if __name__ == "__main__":
    rows()
    runs()
