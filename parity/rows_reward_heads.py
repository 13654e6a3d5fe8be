"""Row 411: one score of a row (reward models) and a value of each token (critics) on the tiny model of every family."""

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from common import FIXTURES, case, write_row

NAMES = ["tiny-llama", "tiny-llama-tied", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma", "tiny-gemma2", "tiny-gemma3", "tiny-gpt2", "tiny-phi3", "tiny-smollm3"]
PAD = 0


def wave(size, of):
    return 0.2 * of(torch.arange(1, size + 1, dtype=torch.float64))


def batch():
    ids = torch.tensor([[5, 9, 2, 7, 11, 3, 8, 4], [6, 2, 9, 5, 3, 0, 0, 0], [4, 7, 3, 8, 6, 0, 0, 0]])
    lengths = torch.tensor([8, 5, 6])  # the last token of row 2 has the id of padding
    return ids, lengths, (torch.arange(8)[None] < lengths[:, None]).long()


@torch.no_grad()
def add(cases, name):
    ids, lengths, mask = batch()
    load = dict(dtype=torch.float64, attn_implementation="eager")
    model = AutoModelForSequenceClassification.from_pretrained(FIXTURES / name, num_labels=1, **load).eval()
    hidden_size = model.score.weight.shape[1]
    model.score.weight[0] = wave(hidden_size, torch.sin)
    model.config.get_text_config().pad_token_id = PAD
    scores = model(input_ids=ids, attention_mask=mask).logits[:, 0]
    alone = torch.cat([model(input_ids=ids[i : i + 1, :n]).logits[:, 0] if ids[i, n - 1] != PAD else torch.zeros(1, dtype=torch.float64) for i, n in enumerate(lengths)])
    assert torch.allclose(scores[:2], alone[:2])
    causal = AutoModelForCausalLM.from_pretrained(FIXTURES / name, **load).eval()
    hidden = causal(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
    values = (hidden @ wave(hidden_size, torch.cos) + 0.1) * mask
    cases.append(case(name, inputs={"ids": ids}, attrs={"lengths": lengths.tolist(), "pad": PAD}, outputs={"scores": scores, "values": values}))


def main():
    cases = []
    for name in NAMES:
        add(cases, name)
    write_row(411, "reward-heads", "scores of rows and values of tokens, every family", {"abs": 1e-9, "rel": 1e-9}, cases, {
        "scores": "score.weight[0, i] = 0.2 sin(i + 1), no bias; at the rightmost token whose id is not pad: of row 2 one token before its last",
        "values": "v_head.summary.weight[0, i] = 0.2 cos(i + 1), bias 0.1, of hidden_states[-1], as in TRL's AutoModelForCausalLMWithValueHead; 0 where there is padding",
        "computed": "float64 from weights that are stored in float32 or 16 bits"})
