"""ROUGE-L as the package rouge_score computes it, without its stemmer, as Self-Instruct uses it.

    pip install rouge-score==0.1.2
    python parity/data/rouge.py

Writes packages/data/test/fixtures/rouge.json.
"""

import json
import random
from pathlib import Path

from rouge_score import rouge_scorer

OUT = Path(__file__).parents[2] / "packages/data/test/fixtures/rouge.json"

WORDS = "write sort the a list of numbers in python explain how plants grow 3 times don't e-mail Café".split()
FIXED = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat on the mat", "the mat sat on the cat"),
    ("", "words"),
    ("words", ""),
    ("...", "!!!"),
    ("Grüße, 日本語 text", "Grüße text 日本"),
    ("a_b c-d e.f", "a b c d e f"),
    ("UPPER lower 123abc", "upper LOWER 123 abc"),
    ("İstanbul ﬁne", "istanbul fine"),
]

rng = random.Random(0)
pairs = FIXED + [
    tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(2)) for _ in range(60)
]
scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
cases = []
for target, candidate in pairs:
    score = scorer.score(target, candidate)["rougeL"]
    cases.append(
        {"target": target, "candidate": candidate, "score": [score.precision, score.recall, score.fmeasure]}
    )
OUT.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
