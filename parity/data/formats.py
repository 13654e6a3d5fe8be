"""Row 119: formats of rows as TRL converts them. Writes packages/data/test/fixtures/formats.json."""

import copy
import json
import pathlib

import trl
from datasets import Dataset
from trl.data_utils import extract_prompt, maybe_convert_to_chatml, unpair_preference_dataset

CHATS = [
    [("human", "What is 2 + 2?"), ("gpt", "4.")],
    [("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello."), ("human", "Bye"), ("gpt", "Bye.")],
    [("user", "Grüße"), ("assistant", "Hallo 👋")],
]
PAIRS = [
    {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "Q: a\nA: yes", "rejected": "Q: a\nA: no", "id": 3},
    {
        "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}],
    },
    {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello"}],
        "rejected": [{"role": "assistant", "content": "No"}],
    },
]

shared = [{"conversations": [{"from": f, "value": v} for f, v in chat], "id": i} for i, chat in enumerate(CHATS)]
explicit = [row if "prompt" in row else {**row, **extract_prompt(copy.deepcopy(row))} for row in PAIRS]
fixture = {
    "trl": trl.__version__,
    "chatml": [{"row": row, "output": maybe_convert_to_chatml(copy.deepcopy(row))} for row in shared],
    "prompts": [{"row": row, "output": out} for row, out in zip(PAIRS, explicit)],
    "unpaired": [
        {"row": row, "output": list(unpair_preference_dataset(Dataset.from_list([row])))} for row in explicit
    ],
}
target = pathlib.Path(__file__).parents[2] / "packages/data/test/fixtures/formats.json"
target.write_text(json.dumps(fixture, ensure_ascii=False, indent=1) + "\n")
