"""Row 84: sequence classification: which token is read, scores, the three losses and their gradients."""

import torch
import transformers

from common import M, VERSIONS, fresh_folder, seed, tensor, write_json
from tiny import shake

SIZES = dict(
    num_hidden_layers=1, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, vocab_size=64,
    max_position_embeddings=32, initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
MODELS = {
    "tiny-classifier": ("Llama", dict(SIZES, num_labels=3)),
    "tiny-classifier-regression": ("Llama", dict(SIZES, num_labels=1)),
    "tiny-classifier-multi": ("Llama", dict(SIZES, num_labels=3, problem_type="multi_label_classification")),
    "tiny-classifier-gpt2": ("GPT2", dict(n_layer=1, n_embd=16, n_head=2, n_positions=32, vocab_size=64, initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0, num_labels=2)),
}
LABELS = {
    "tiny-classifier": torch.tensor([2, 0]),
    "tiny-classifier-regression": torch.tensor([0.7, -1.2]),
    "tiny-classifier-multi": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    "tiny-classifier-gpt2": torch.tensor([1, 0]),
}


def classifier(name):
    stem, keys = MODELS[name]
    config = getattr(transformers, f"{stem}Config")(**keys)
    Model = getattr(transformers, f"{stem}ForSequenceClassification")
    folder = fresh_folder(name)
    seed(84)
    shake(Model(config)).save_pretrained(folder)
    model = Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    seed(84)
    # Row 0 ends with the eos token, row 1 is shorter.
    rows = [torch.cat([torch.randint(3, 64, (6,)), torch.tensor([2])]), torch.randint(3, 64, (3,))]
    right, mask = torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7, dtype=torch.long)
    for i, row in enumerate(rows):
        right[i, : len(row)], mask[i, : len(row)] = row, 1
    labels = LABELS[name]
    out = model(input_ids=right, attention_mask=mask, labels=labels)
    out.loss.backward()
    with torch.no_grad():
        left, left_mask = torch.zeros_like(right), torch.zeros_like(mask)
        for i, row in enumerate(rows):
            left[i, 7 - len(row) :], left_mask[i, 7 - len(row) :] = row, 1
        positions = (left_mask.cumsum(-1) - 1).clamp(min=0)
        of_left = model(input_ids=left, attention_mask=left_mask, position_ids=positions).logits
        model.config.pad_token_id = 2  # eos as padding: transformers passes over the eos that is the row's own
        eos_padded = torch.where(mask == 1, right, 2)
        passed_over = model(input_ids=eos_padded, attention_mask=mask).logits
        model.config.pad_token_id = None  # no padding: the last token of a row by itself
        alone = torch.cat([model(input_ids=row[None]).logits for row in rows])
    write_json(f"{name}/classification.json", {
        "row": 84, "case": f"{name}: pooled scores, loss, gradients", "versions": VERSIONS, "tolerance": M,
        "conventions": {
            "scores": "[rows, labels] at the last token of each row; alone: each row without padding; passedOver: transformers with eos as pad_token_id, which reads row 0 one token early",
            "loss": "mean over rows (and outputs), as transformers' ForSequenceClassificationLoss",
        },
        "rows": [row.tolist() for row in rows], "labels": labels.tolist(),
        "scores": tensor(out.logits), "scoresLeft": tensor(of_left), "scoresAlone": tensor(alone), "scoresPassedOver": tensor(passed_over),
        "loss": out.loss.item(),
        "grads": {n: tensor(p.grad) for n, p in model.named_parameters() if n == "score.weight" or "norm" in n or "ln_" in n},
        "gradNorm": {n: p.grad.double().norm().item() for n, p in model.named_parameters()},
    })


def main():
    for name in MODELS:
        classifier(name)
