"""Row 410: log-probabilities of given tokens, by row and by token, as TRL's DPO and GRPO trainers take them."""

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from common import FIXTURES, case, seed, write_row


def log_probs(model, ids, mask, labels, temperature):
    """Per token [B, T-1], 0 where nothing is asked: the token at t + 1 given what is before it; and of what predicts it entropy, mean logit and log sum p^2."""
    raw = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    logits = raw / temperature
    asked = labels[:, 1:] != -100
    with torch.no_grad():
        concentration = torch.logsumexp(2 * F.log_softmax(logits, -1), -1)
        statistics = {"entropy": entropy_from_logits(logits) * asked, "meanLogit": raw.mean(-1) * asked, "concentration": concentration * asked}
    return selective_log_softmax(logits, labels[:, 1:].clamp(min=0)) * asked, asked, statistics


def wave(grad):
    """Its product with cos(0), cos(1), ...: one number that sees where each value is."""
    return (grad.flatten() * torch.cos(torch.arange(grad.numel(), dtype=torch.float64))).sum().item()


def add(cases, name, temperature):
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float64, attn_implementation="eager").eval()
    seed(410)
    ids = torch.randint(3, model.config.vocab_size, (4, 11))
    lengths, prompts = [11, 7, 9, 10], [4, 3, 9, 1]  # of the third nothing is asked
    mask = (torch.arange(11)[None] < torch.tensor(lengths)[:, None]).long()
    asked = mask.bool() & (torch.arange(11)[None] >= torch.tensor(prompts)[:, None])
    ids, labels = ids * mask, torch.where(asked, ids, -100)
    per_token, asked, statistics = log_probs(model, ids, mask, labels, temperature)
    sums, counts = per_token.sum(1), asked.sum(1)
    # Row 0 is chosen, row 1 rejected; and a clipped ratio of tokens, as in GRPO, of row 3.
    preference = -F.logsigmoid(0.5 * (sums[0] - sums[1]))
    policy = -(torch.exp(per_token[3] * 0.1) * asked[3]).sum()
    (preference + policy).backward()
    parameters = dict(model.named_parameters())
    cases.append(case(
        f"{name}-temperature-{temperature}", inputs={"ids": ids, "labels": labels}, attrs={"model": name, "temperature": temperature, "lengths": lengths},
        outputs={"perToken": per_token, "sums": sums, "counts": counts, "averages": sums[[0, 1, 3]] / counts[[0, 1, 3]], "loss": preference + policy, **statistics},
        gradNorm={n: p.grad.norm().item() for n, p in parameters.items()}, gradWave={n: wave(p.grad) for n, p in parameters.items()}))


def main():
    cases = []
    for name, temperature in [("tiny-llama", 1), ("tiny-llama", 0.7), ("tiny-qwen2", 1), ("tiny-gemma2", 1), ("tiny-gemma2", 0.7), ("tiny-phi3", 1)]:
        add(cases, name, temperature)
    write_row(410, "sequence-log-probs", "log p of given tokens", {"abs": 1e-9, "rel": 1e-9}, cases, {
        "entropy, meanLogit, concentration": "of what predicts the token, 0 where it is not asked: TRL's entropy_from_logits; mean of the logits before the temperature; log sum p^2, as log_sum_sq_probs of TRL's fused head",
        "labels": "unshifted, -100: not asked; perToken[:, t] is about the token at t + 1, 0 where it is not asked",
        "averages": "sum / count of rows 0, 1 and 3: TRL's average_log_prob; of row 2 nothing is asked",
        "loss": "-logsigmoid(0.5 (sums[0] - sums[1])) - sum over asked tokens of row 3 of exp(0.1 perToken)",
        "gradWave": "sum of grad[i] cos(i) over the flat gradient",
        "computed": "float64 from weights that are stored in float32"})
