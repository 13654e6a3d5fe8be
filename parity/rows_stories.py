"""Stories260k: token ids, float32 logits of eight texts of our own, and a greedy continuation."""

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import M, SHARED, SHARED_NAME, VERSIONS, write_json, write_tensors

MODEL = SHARED / "models" / "stories260k"

TEXTS = [
    "Hi",
    "The cat sat on the mat.",
    "Lily saw a big red ball.\nShe ran to get it.",
    "Café müsli, naïve — 日本 🙂",
    "One day a little dog found a shiny key under the old tree, and he took it home to show his mom.",
    "  two  spaces, 3 numbers: 12345, and code: ls -la | grep '*.txt'",
    "Tom and Sue like to play. \"Can I have a turn?\" said Sue. \"Yes,\" said Tom, \"but be careful with the small boat.\"",
    "Zzz...",
]


def tokenizer():
    """As AutoTokenizer makes it: a LlamaTokenizer, which differs from tokenizer.json where a text begins with a space."""
    tok = AutoTokenizer.from_pretrained(MODEL)
    raw = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    for text in TEXTS:
        assert text.startswith(" ") or tok(text)["input_ids"] == raw.encode(text).ids, text
    return tok


def model():
    m = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    m.name_or_path = m.config._name_or_path = f"{SHARED_NAME}/models/stories260k"
    return m


def main():
    if not MODEL.is_dir():
        print(f"  no {SHARED_NAME}/models/stories260k: skipped, its fixture kept")
        return
    tok, m = tokenizer(), model()
    named, rows = {}, []
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([tok(text)["input_ids"]])
        with torch.no_grad():
            out = m(input_ids=ids, labels=ids)
        named[f"input_ids.{i}"], named[f"logits.{i}"] = ids[0], out.logits[0]
        rows.append({"index": i, "text": text, "ids": ids[0].tolist(), "decoded": tok.decode(ids[0], skip_special_tokens=True), "meanLoss": out.loss.item()})
    write_tensors("stories260k/logits.safetensors", named, model=f"{SHARED_NAME}/models/stories260k")

    prompt = "Once upon a time"
    ids = torch.tensor([tok(prompt)["input_ids"]])
    generate = dict(attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=64, pad_token_id=2)
    cached, plain = m.generate(ids, **generate), m.generate(ids, **generate, use_cache=False)
    assert torch.equal(cached, plain)
    with torch.no_grad():
        top = m(input_ids=cached).logits[0, ids.shape[1] - 1 : -1].topk(2).values
    write_json("stories260k/texts.json", {
        "case": "stories260k logits and greedy continuation", "versions": VERSIONS, "tolerance": M,
        "model": f"{SHARED_NAME}/models/stories260k",
        "conventions": {
            "files": "logits.safetensors: input_ids.<i> [T] int32, logits.<i> [T,512] float32, one pair for each text",
            "ids": "AutoTokenizer's (LlamaTokenizer): bos 1 first (post-processor), no eos; meanLoss: mean cross-entropy of ids 1..T-1",
            "greedy": "ids = prompt ids + 64 new ids (or up to eos 2), equal with and without a key-value cache; smallestTopGap: least distance of the best to the second logit on the way",
        },
        "texts": rows,
        "greedy": {"prompt": prompt, "promptIds": ids[0].tolist(), "ids": cached[0].tolist(), "newIds": cached[0, ids.shape[1]:].tolist(),
                   "text": tok.decode(cached[0], skip_special_tokens=True), "smallestTopGap": (top[:, 0] - top[:, 1]).min().item()},
    })
