"""Row 116: IFD as Cherry_LLM and Superfiltering compute it, one row after the other.

    python parity/data/ifd.py

ifd.json is of the tiny Llama with pieces of text as tokens. ifd-stories.json is of stories260k on
200 rows of NL2Bash, where both lie beside the repository: numbers alone, no text.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import FIXTURES, SHARED, VERSIONS

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = Path(__file__).parents[2] / "packages/data/test/fixtures"

ALPACA = "Below is an instruction that describes a task"
PROMPTS = {
    "cherry": {
        "input": ALPACA + ", paired with an input that provides further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:",
        "none": ALPACA + ". Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:",
        "direct": "### Response:",
    },
    "superfiltering": {"input": "{instruction}\n{input}\n", "none": "{instruction}\n", "direct": ""},
}


class Pieces:
    """Words, numbers, spaces and signs as tokens, with a BOS or without one; the test has the same one."""

    def __init__(self, bos=True):
        self.before = [1] if bos else []

    def encode(self, text):
        pieces = re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]", text)
        return self.before + [3 + sum(ord(c) * (i + 1) for i, c in enumerate(piece)) % 253 for piece in pieces]


def part_loss(model, tokenizer, text, answer, limit):
    """Mean loss of the answer at the end of a text, and its tokens; the text is cut off at `limit` tokens."""
    start = len(tokenizer.encode(text[: text.rindex(answer)]))
    ids = torch.tensor([tokenizer.encode(text)[:limit]])
    labels = ids.clone()
    labels[:, :start] = -100
    count = (labels[0, 1:] != -100).sum().item()
    if count == 0:
        return None, 0
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, labels[0, 1:]).item(), count


def ifd(model, tokenizer, row, variant, max_length):
    prompts = PROMPTS[variant]
    instruction, given, answer = row
    prompt = prompts["input" if given else "none"].format(instruction=instruction, input=given)
    prompt_tokens = len(tokenizer.encode(prompt))
    # The authors write 4 for what is before the answer alone: BOS and "### Response:" with Llama's tokenizer.
    before = len(tokenizer.encode(prompts["direct"]))
    conditioned, count = part_loss(model, tokenizer, prompt + answer, answer, max_length)
    direct, count_direct = part_loss(model, tokenizer, prompts["direct"] + answer, answer, max(0, max_length - prompt_tokens) + before)
    if count == 0 or count_direct == 0:
        return None
    score = conditioned / direct if variant == "cherry" else torch.exp(torch.tensor(conditioned - direct, dtype=torch.float64)).item()
    return {"ifd": score, "conditioned": conditioned, "direct": direct, "tokens": [count, count_direct]}


def kept(scores, rate):
    """Places of the rows that the script keeps: those above 1 go, then the largest."""
    left = [i for i, s in enumerate(scores) if s is not None and not s["ifd"] > 1]
    count = int(len(left) * rate)
    return sorted(sorted(left, key=lambda i: -scores[i]["ifd"])[:count])


ROWS = [
    ["Name three primary colors.", "", "Red, yellow and blue."],
    ["Add the numbers.", "3 and 4", "7"],
    ["Write a long sentence about the sea.", "", "The sea is wide and deep; ships cross it for weeks, and gulls follow them until the land is out of sight."],
    ["Say it again.", "again and again", "again and again and again"],
    ["Translate to French: the cat", "", "le chat"],
    ["Say hello.", "", "Grüße, 日本語 🙂!\n"],
    ["One word.", "", "Yes"],
    [" ".join(["long"] * 40), "", "Too long for its answer."],
]


def main():
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / "tiny-llama", dtype=torch.float64, attn_implementation="eager").eval()
    cases = []
    for variant, max_length, bos in [
        ("cherry", 128, True),
        ("superfiltering", 128, True),
        ("cherry", 80, True),
        ("cherry", 80, False),
        ("superfiltering", 128, False),
        ("superfiltering", 30, False),
    ]:
        scores = [ifd(model, Pieces(bos), row, variant, max_length) for row in ROWS]
        cases.append({"variant": variant, "maxLength": max_length, "bos": bos, "scores": scores, "kept": kept(scores, 0.7)})
    value = {"versions": VERSIONS, "rows": ROWS, "rate": 0.7, "cases": cases}
    (OUT / "ifd.json").write_text(json.dumps(value, indent=1) + "\n")

    folder, data = SHARED / "models/stories260k", SHARED / "datasets/nl2bash/train.jsonl"
    if not (folder.is_dir() and data.is_file()):
        print("no ../shared: ifd-stories.json is kept")
        return
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in data.read_text().splitlines()[:200]]
    value = {"versions": VERSIONS}
    for variant in PROMPTS:
        scores = [ifd(model, tokenizer, [row["prompt"], "", row["completion"]], variant, 512) for row in rows]
        value[variant] = [score and [round(score["ifd"], 9), *score["tokens"]] for score in scores]
    (OUT / "ifd-stories.json").write_text(json.dumps(value) + "\n")


main()
