"""Writes parity/fixtures. `python parity/make.py` writes all; `python parity/make.py ops lora_runs` only those."""

import importlib
import os
import sys
import time

if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes sets as lists: fix their order
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})

from common import FIXTURES, HERE, open_modes

# Every rows_<part>.py beside this file; "models" first, since others read the tiny models.
PARTS = sorted((path.stem.removeprefix("rows_") for path in HERE.glob("rows_*.py")), key=lambda part: (part != "models", part))


def main():
    wanted = sys.argv[1:] or PARTS
    unknown = [w for w in wanted if w not in PARTS]
    if unknown:
        sys.exit(f"no such part: {unknown}; parts are {PARTS}")
    for part in wanted:
        start = time.time()
        print(f"{part}:")
        importlib.import_module(f"rows_{part}").main()
        print(f"  {time.time() - start:.1f} s")
    open_modes()
    total = sum(p.stat().st_size for p in FIXTURES.rglob("*") if p.is_file())
    print(f"fixtures: {total:,} bytes")
    assert total < 15_000_000, "the fixtures must stay below 15 MB"


main()
