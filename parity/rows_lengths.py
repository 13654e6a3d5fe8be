"""Which length dynamic and longrope take their frequencies from: losses of packed and padded batches."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from common import FIXTURES, M, case, seed, write_row

# The tiny models, both with an original length of 32; Llama with other frequencies than it was saved with.
MODELS = {
    "tiny-phi3": {},
    "tiny-llama": dict(max_position_embeddings=32, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}),
}

PACKED = {"short texts in a long row": [20, 14, 18, 12], "a long text among short ones": [15, 40, 9]}
PADDED = {"short rows": [20, 11], "rows at the original length": [32, 7], "a row one longer": [33, 20], "a long row and a short one": [45, 20]}


def load(name, changes):
    """A new model for each case: dynamic ones remember the longest sequence they have seen."""
    config = AutoConfig.from_pretrained(FIXTURES / name)
    for key, value in changes.items():
        setattr(config, key, value)
    return AutoModelForCausalLM.from_pretrained(FIXTURES / name, config=config, dtype=torch.float32, attn_implementation="eager").eval()


def rows_of(lengths):
    seed(41)
    return [torch.randint(3, 250, (n,)) for n in lengths]


def packed_loss(model, rows):
    """One row, positions from 0 in each text, and the first token of a text not learned: TRL's padding-free collator."""
    ids = torch.cat(rows)[None]
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    labels = ids.clone()
    labels[positions == 0] = -100
    return model(input_ids=ids, position_ids=positions, labels=labels, use_cache=False).loss  # with a cache texts would see one another


def padded_loss(model, rows):
    """Padded to the longest on the right, as data collators do; position ids are left to the model."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, own, seen in zip(rows, ids, mask):
        own[: len(row)], seen[: len(row)] = row, 1
    return model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss


def generated(name, changes, beams):
    """Answers to two prompts, padded on the left, that pass the original length one after the other."""
    rows = rows_of([27, 18])
    model = load(name, changes)
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, own, seen in zip(rows, ids, mask):
        own[width - len(row) :], seen[width - len(row) :] = row, 1
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False, num_beams=beams, pad_token_id=0, eos_token_id=None)
    return [row.tolist() for row in rows], [text[width - len(row) :].tolist() for row, text in zip(rows, out)]


def main():
    cases = []
    for name, changes in MODELS.items():
        for kind, batches, loss in (("packed", PACKED, packed_loss), ("padded", PADDED, padded_loss)):
            for title, lengths in batches.items():
                rows = rows_of(lengths)
                with torch.no_grad():
                    value = loss(load(name, changes), rows).item()
                cases.append(case(f"{name}, {kind}: {title}", attrs={"model": name, "changes": changes, "kind": kind, "rows": [row.tolist() for row in rows]}, outputs={"loss": value}))
                print(f"  {cases[-1]['name']}: {value:.6f}")
        for beams in (1, 3):
            prompts, ids = generated(name, changes, beams)
            cases.append(case(f"{name}, generated with {beams} beams", attrs={"model": name, "changes": changes, "kind": "generated", "rows": prompts, "beams": beams}, ids=ids))
    write_row(231, "rope-lengths", "frequencies follow the longest text of a batch, not the width of its rows", M, cases)
