"""Rows of a JSONL file by Hugging Face datasets, in a process of its own: `python datasetsRead.py FILE KIND`.

KIND stream: one row after the other; map: loaded, then mapped by a function of a row. Prints how many
rows there are, how long it took without imports, and the CPU time, in milliseconds.
"""

import json
import os
import sys
import tempfile
import time

file, kind = sys.argv[1:]
os.environ["HF_HUB_OFFLINE"] = "1"
with tempfile.TemporaryDirectory() as cache:
    os.environ["HF_HOME"] = cache
    import datasets

    datasets.disable_progress_bars()
    began, cpu = time.perf_counter(), time.process_time()
    loaded = datasets.load_dataset("json", data_files=file, split="train", streaming=kind == "stream")
    rows = sum(1 for _ in loaded) if kind == "stream" else len(loaded.map(lambda row: row))
    ms, cpu_ms = (time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000
    print(json.dumps({"rows": rows, "ms": ms, "cpuMs": cpu_ms}))
