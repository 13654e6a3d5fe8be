"""Rows 9 and 10: tiny Llama (untied, tied) and tiny Qwen2: weights as HF saves them, logits, loss, every gradient."""

import torch

from common import M, VERSIONS, case, fresh_folder, seed, tensor, write_json, write_tensors
from tiny import build, load


def save(name, row):
    folder = fresh_folder(name)
    build(name).save_pretrained(folder)
    model = load(name)
    vocab = model.config.vocab_size

    seed(row)
    ids = torch.randint(3, vocab, (2, 9))
    labels = ids.clone()
    labels[0, :3] = -100  # a masked prompt
    labels[1, 7:] = -100  # a masked tail; no attention mask is passed, so all tokens are attended
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    grads = {f"grad.{n}": p.grad for n, p in model.named_parameters()}
    write_tensors(f"{name}/forward.safetensors", {"input_ids": ids, "labels": labels, "logits": out.logits, **grads})

    # The same rows padded on the right: row 1 keeps 6 tokens; logits are compared where the mask is 1 only.
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    padded_ids, padded_labels = ids.clone(), labels.clone()
    padded_ids[1, 6:] = 0
    padded_labels[1, 6:] = -100
    with torch.no_grad():
        padded = model(input_ids=padded_ids, attention_mask=mask, labels=padded_labels)
        num_items = model(input_ids=ids, labels=labels, num_items_in_batch=torch.tensor(7)).loss
        double = model.double()(input_ids=ids, labels=labels).loss
    write_json(f"{name}/forward.json", {
        "row": row, "case": f"{name} forward and backward", "versions": VERSIONS, "tolerance": M,
        "conventions": {
            "files": "model.safetensors + config.json as HF save_pretrained writes; forward.safetensors: input_ids, labels [B,T] int32, logits [B,T,V] float32, grad.<parameter name> float32",
            "loss": "labels are unshifted: the loss compares logits[:, t] with labels[:, t+1]; mean over shifted labels that are not -100",
            "tied": "a tied model has no lm_head.weight; grad.model.embed_tokens.weight is the sum of both uses",
        },
        "inputs": {"input_ids": tensor(ids), "labels": tensor(labels)},
        "loss": out.loss.item(),
        "lossFloat64": double.item(),
        "validShiftedLabels": int((labels[:, 1:] != -100).sum()),
        "lossWithNumItems7": num_items.item(),
        "gradNorm": {n: p.grad.double().norm().item() for n, p in model.named_parameters()},
        "totalGradNorm": torch.cat([p.grad.double().flatten() for p in model.parameters()]).norm().item(),
        "parameters": {n: list(p.shape) for n, p in model.named_parameters()},
        "cases": [case("right-padded", inputs={"input_ids": padded_ids, "attention_mask": mask, "labels": padded_labels},
                       attrs={"compare": "loss; the last real position's logits"},
                       outputs={"loss": padded.loss, "lastRealLogits": torch.stack([padded.logits[0, 8], padded.logits[1, 5]])})],
    })
    print(f"  {name}: loss {out.loss.item():.4f}, logits std {out.logits.std().item():.3f}")


def main():
    for name, row in [("tiny-llama", 9), ("tiny-llama-tied", 9), ("tiny-qwen2", 10)]:
        save(name, row)
