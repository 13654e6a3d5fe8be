"""Texts that are equal by NFKC, str.casefold and str.split: packages/data/test/fixtures/normalize.json.

    python parity/data/normalize.py

Of all characters with another form (upper, lower, title, folded, NFKC) the pairs whose equality needs more than lower
case, every fiftieth of the others, and all white space; and pairs of one letter each that are not equal.
"""

import json
import unicodedata
from pathlib import Path


def normal(text):
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def lower(text):
    return unicodedata.normalize("NFKC", text).lower()


assigned = [chr(c) for c in range(1, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
forms = [str.upper, str.lower, str.title, str.casefold, lambda c: unicodedata.normalize("NFKC", c)]
pairs = sorted({(c, form(c)) for c in assigned for form in forms if form(c) != c})
equal = [(a, b) for a, b in pairs if normal(f"a{a}b") == normal(f"a{b}b")]
hard = [(a, b) for a, b in equal if lower(a) != lower(b)]
others = [pair for pair in equal if pair not in set(hard)][::50]
candidates = ["ı", "i", "ß", "s", "ſ", "f", "µ", "u", "Σ", "o", "й", "и", "カ", "か", "ﬁ", "ｆ", "é", "e", "Ⅷ", "8", "İ", "\u00a0", "x"]
different = [(a, b) for i, a in enumerate(candidates) for b in candidates[:i] if normal(f"a{a}b") != normal(f"a{b}b")]

target = Path(__file__).parents[2] / "packages/data/test/fixtures/normalize.json"
fixture = {
    "unicode": unicodedata.unidata_version,
    "equal": hard + others,
    "different": different,
    "space": [c for c in assigned if c.isspace()],
}
target.write_text(json.dumps(fixture) + "\n")
