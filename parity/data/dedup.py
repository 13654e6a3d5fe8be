"""Near-duplicates by sets of Python strings, and by datasketch: packages/data/test/fixtures/dedup.json.

    python -m venv venv && venv/bin/pip install datasketch==2.0.0
    venv/bin/python parity/data/dedup.py

Texts are families of one text with some of its words changed. Pairs are compared with each other, all of them; the rows
that stay follow from the pairs, greedily (a row goes if it reaches the threshold with one that stays) and by connected
components (the first row of each stays), as text-dedup makes its clusters. Leaks are 8-grams of words in both sets.
"""

import json
import random
from pathlib import Path

from datasketch import MinHash, MinHashLSH

random.seed(0)
THRESHOLD = 0.8
VOCABULARY = ["".join(random.choices("abdeiklmnoprstu", k=random.randint(2, 9))) for _ in range(800)]


def edited(words, edits):
    copy = list(words)
    for _ in range(edits):
        copy[random.randrange(len(copy))] = random.choice(VOCABULARY)
    return copy


def shingles(text, unit, size=5):
    tokens = text.split() if unit == "word" else list(text)
    return {tuple(tokens[i : i + size]) for i in range(max(1, len(tokens) - size + 1))}


def jaccard(a, b):
    return len(a & b) / len(a | b)


def greedy(count, pairs):
    kept = []
    for row in range(count):
        if not any((other, row) in pairs for other in kept):
            kept.append(row)
    return kept


def components(count, pairs):
    parent = list(range(count))

    def root(row):
        while parent[row] != row:
            row = parent[row]
        return row

    for a, b in pairs:
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    return [row for row in range(count) if root(row) == row]


def candidates(sets):
    """What datasketch's index names at its own banding, unverified."""
    lsh, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), []
    for row, shingle_set in enumerate(sets):
        signature = MinHash(num_perm=128, seed=1)
        signature.update_batch([" ".join(shingle).encode() for shingle in sorted(shingle_set)])
        found += [[other, row] for other in sorted(lsh.query(signature))]
        lsh.insert(row, signature)
    return found


def case(unit, length, edits):
    texts = []
    for _ in range(12):
        words = random.choices(VOCABULARY, k=length)
        family = [words] + [edited(words, random.randint(*edits)) for _ in range(4)]
        texts += [" ".join(member) for member in family]
    random.shuffle(texts)
    sets = [shingles(text, unit) for text in texts]
    pairs = {
        (a, b): jaccard(sets[a], sets[b])
        for b in range(len(texts))
        for a in range(b)
        if jaccard(sets[a], sets[b]) >= THRESHOLD
    }
    return {
        "unit": unit,
        "texts": texts,
        "pairs": [[a, b, value] for (a, b), value in pairs.items()],
        "greedy": greedy(len(texts), pairs),
        "components": components(len(texts), pairs),
        "datasketch": candidates(sets),
    }


def leaks(n=8):
    train = [random.choices(VOCABULARY, k=random.randint(5, 60)) for _ in range(60)]
    evaluation = [random.choices(VOCABULARY, k=random.randint(8, 30)) for _ in range(30)]
    for row in range(0, 30, 3):
        start = random.randrange(len(evaluation[row]) - 7)
        train[2 * row] = train[2 * row] + evaluation[row][start:] + train[2 * row][:5]

    def ngrams(words):
        return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}

    found = []
    for i, row in enumerate(evaluation):
        for j, other in enumerate(train):
            shared = ngrams(row) & ngrams(other)
            if shared:
                found.append([i, j, len(shared) / len(ngrams(row))])
    return {
        "n": n,
        "train": [" ".join(row) for row in train],
        "eval": [" ".join(row) for row in evaluation],
        "leaks": found,
    }


fixture = {
    "cases": [case("word", 80, (0, 4)), case("character", 20, (0, 2))],
    "leaks": leaks(),
}
out = Path(__file__).parents[2] / "packages/data/test/fixtures/dedup.json"
out.write_text(json.dumps(fixture, indent=1) + "\n")
