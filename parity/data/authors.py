"""What the authors' own code says: Self-Instruct's filters of instructions, DEITA's scores and
filter.

    git clone https://github.com/yizhongw/self-instruct   # 0b26ccaa
    git clone https://github.com/hkust-nlp/deita          # b279f2c3
    pip install numpy pandas scipy torch transformers rouge-score tqdm
    python parity/data/authors.py self-instruct deita

Writes packages/data/test/fixtures/authors.json. Both are run as they are; what they import and do
not use here is replaced by empty modules.
"""

import json
import random
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

OUT = Path(__file__).parents[2] / "packages/data/test/fixtures/authors.json"
self_instruct, deita = map(Path, sys.argv[1:3])

sys.modules["gpt3_api"] = MagicMock()
sys.path[:0] = [str(self_instruct / "self_instruct"), str(deita / "src")]
bootstrap = import_module("bootstrap_instructions")

TEXTS = """
Explain it
Explain it now
Explain it to me
Explain  it   to me
one-two three-four five
one-two three-four five-six seven
Draw a cat in the rain
Withdraw the money from it
Describe the image in words
Describe your self-image in words
Imagine a world without imagery
Write a caption for the pictures
Plot the data of a table
Explain the plot's twist to me
Name a plotter and its price
Name three maps of the world
Mapping is fun for all
Let us go to the park
Let us go  to the park
Let us go there tomorrow again
Undergo to some degree this
Write a program that sorts numbers
write a program that sorts numbers
WRITE A PROGRAM that sorts numbers
Write an essay on a program
Please write a program that sorts
- Explain it to me
"Explain" it to me please
'Tis the season, explain it
(Explain it to me) please
_Explain it to me please
1 plus 1 is what
#hashtags, explain them to me
Explain_image_now to me please
Explain graph-theory to a child
Explain the File system please
Explain profiles to a child
Explain photo albums to me
Explain what a video is
Explain music to an alien
Explain a diagram to me
""".strip().split("\n")
TEXTS += [" ".join(["word"] * n) for n in (3, 4, 149, 150, 151)]
OTHERS = ["Éxplain it to me", "日本語 を 説明 して ください", "¿Cómo se hace esto?", "“Explain” it to me"]


def is_kept(text):
    response = {"choices": [{"finish_reason": "stop", "text": text}]}
    return len(bootstrap.post_process_gpt3_response(response)) == 1


for package in ("deita", "deita.pipeline", "deita.selection", "deita.selection.scorer", "deita.selection.filter"):
    module = ModuleType(package)
    module.__path__ = [str(deita / "src" / package.replace(".", "/"))]
    sys.modules[package] = module
sys.modules["deita.pipeline.utils"] = SimpleNamespace(sort_key_split=lambda keys: keys.split(","))
Llama = import_module("deita.selection.scorer.llama_scorer").Llama_Scorer
Mistral = import_module("deita.selection.scorer.mistral_scorer").Mistral_Scorer
Combined = import_module("deita.selection.filter.combined_filter").Combined_Filter

import pandas as pd  # noqa: E402
import torch  # noqa: E402

rng = random.Random(0)


def levels():
    """Expected levels for logits of the tokens 1 to 6, the other tokens' logits being large."""
    cases = []
    for scale in (0.1, 1, 5, 50):
        for _ in range(5):
            logits = [rng.gauss(0, scale) for _ in range(6)]
            scorer = Llama.__new__(Llama)
            scorer.is_vllm = False
            scorer.device = torch.device("cpu")
            scorer.tokenizer = SimpleNamespace(encode=lambda *_, **__: torch.zeros(1, 1))
            everything = torch.full((32000,), 1e3, dtype=torch.float64)
            everything[list(scorer.id2score)] = torch.tensor(logits, dtype=torch.float64)
            output = SimpleNamespace(scores=[[everything]])
            scorer.model = SimpleNamespace(generate=lambda *_, output=output, **__: output)
            cases.append({"logits": logits, "level": float(scorer.infer_complexity("x"))})
    return cases


def selection():
    """Conversations of one to four turns, chosen by both scores and unlike each other."""
    nearby = [[rng.gauss(0, 1) for _ in range(6)] for _ in range(9)]
    rows = []
    for i in range(60):
        turns = rng.randint(1, 4)
        rows.append(
            {
                "id": i,
                "complexity": [rng.uniform(1, 6) for _ in range(turns)],
                "quality": [rng.uniform(1, 6) for _ in range(turns)],
                "embedding": [x + rng.gauss(0, 0.3) for x in rng.choice(nearby)],
            }
        )
    keys = ["complexity", "quality"]
    filters = Combined(threshold=0.9, data_size=12, sort_key=keys, chunk_size=100000, device="cpu")
    chosen = filters.filter(pd.DataFrame(rows))
    every = Combined(threshold=0.9, data_size=-1, sort_key=keys, chunk_size=100000, device="cpu")
    return {
        "rows": rows,
        "chosen": chosen["id"].tolist(),
        "scores": chosen["final_score"].tolist(),
        "everyOne": every.filter(pd.DataFrame(rows))["id"].tolist(),
    }


scorers = [Llama.__new__(Llama), Mistral.__new__(Mistral)]
prompts = [[s.complexity_template, s.quality_template] for s in scorers]
assert prompts[0] == prompts[1]
OUT.write_text(
    json.dumps(
        {
            "instructions": [{"text": text, "kept": is_kept(text)} for text in TEXTS],
            "others": [{"text": text, "kept": is_kept(text)} for text in OTHERS],
            "prompts": {"complexity": prompts[0][0], "quality": prompts[0][1]},
            "levels": levels(),
            "selection": selection(),
        },
        ensure_ascii=False,
        indent=1,
    )
    + "\n"
)
