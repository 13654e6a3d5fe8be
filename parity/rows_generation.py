"""Rows 121, 122 and beam search: what transformers' processors and `generate` choose."""

import torch
from common import FIXTURES, VERSIONS, case, write_json, write_row
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

S = {"abs": 1e-6, "rel": 1e-6}


def processors():
    generator = torch.Generator().manual_seed(121)
    logits = torch.randn(3, 10, generator=generator) * 2
    logits[1, 4] = logits[1, 7]  # a tie at the edge of top-k
    seen = torch.tensor([[1, 3, 3], [0, 9, 4], [2, 5, 7]])
    made = {
        "repetition penalty 1.3": RepetitionPenaltyLogitsProcessor(1.3),
        "repetition penalty 0.8": RepetitionPenaltyLogitsProcessor(0.8),
        "temperature 0.7": TemperatureLogitsWarper(0.7),
        "top-k 4": TopKLogitsWarper(4),
        "top-k 50": TopKLogitsWarper(10),
        "top-p 0.6": TopPLogitsWarper(0.6),
        "top-p 0.05": TopPLogitsWarper(0.05),
        "min-p 0.2": MinPLogitsWarper(0.2),
    }
    cases = [
        case(name, inputs={"logits": logits, "seen": seen.int()},
             outputs={"scores": processor(seen, logits.clone())})
        for name, processor in made.items()
    ]
    write_row(121, "logits-processors", "processors of logits, one at a time", S, cases)


PROMPTS = [[5, 17, 60], [9, 4, 77, 31, 20, 8], [50]]


def padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def generated(model, rows, **options):
    """Answers without padding on either side, as lists."""
    ids, mask = padded(rows)
    eos = options.get("eos_token_id")
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=0, return_dict_in_generate=True,
                             output_scores=options.get("num_beams", 1) > 1, **options)
    count = options.get("num_return_sequences", 1)
    sequences = []
    for i, row in enumerate(out.sequences.tolist()):
        prompt = rows[i // count]
        answer = row[ids.shape[1]:]
        if eos is not None:
            eos_ids = eos if isinstance(eos, list) else [eos]
            end = next((t for t, token in enumerate(answer) if token in eos_ids), None)
            if end is not None:
                answer = answer[: end + 1]
        sequences.append(prompt + answer)
    scores = out.sequences_scores.tolist() if options.get("num_beams", 1) > 1 else None
    return sequences, scores


def main():
    processors()
    cases = []
    for name in ("tiny-llama", "tiny-qwen2"):
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32, attn_implementation="eager").eval()
        # Ids that the greedy answers contain end some of the beams.
        greedy, _ = generated(model, PROMPTS, max_new_tokens=20, eos_token_id=None)
        eos = sorted({greedy[0][len(PROMPTS[0]) + 5], greedy[1][len(PROMPTS[1]) + 9]})
        grid = [
            {"max_new_tokens": 20},
            {"max_new_tokens": 20, "eos_token_id": eos},
            {"max_new_tokens": 20, "repetition_penalty": 1.3},
            {"max_new_tokens": 12, "num_beams": 2},
            {"max_new_tokens": 12, "num_beams": 4, "num_return_sequences": 3},
            {"max_new_tokens": 12, "num_beams": 4, "eos_token_id": eos},
            {"max_new_tokens": 12, "num_beams": 4, "eos_token_id": eos, "num_return_sequences": 4, "length_penalty": -0.5},
            {"max_new_tokens": 12, "num_beams": 3, "eos_token_id": eos[0], "length_penalty": 2.0, "early_stopping": True},
            {"max_new_tokens": 12, "num_beams": 3, "eos_token_id": eos, "length_penalty": 2.0, "early_stopping": "never"},
            {"max_new_tokens": 12, "num_beams": 3, "eos_token_id": eos[-1], "length_penalty": 0.0},
            {"max_new_tokens": 12, "num_beams": 3, "repetition_penalty": 1.2},
        ]
        for options in grid:
            options = {"eos_token_id": None, **options}
            sequences, scores = generated(model, PROMPTS, **options)
            cases.append({"model": name, "options": options, "sequences": sequences, "scores": scores})
    write_json("row122-generation.json", {
        "row": 122, "case": "greedy generation and beam search over tiny models", "versions": VERSIONS,
        "conventions": {
            "prompts": "padded on the left with 0 and masked; sequences are prompt and answer without padding, up to and with the first eos",
            "scores": "sequences_scores, of beams alone",
        },
        "prompts": PROMPTS, "cases": cases,
    })
