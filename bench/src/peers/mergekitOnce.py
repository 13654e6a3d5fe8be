"""A merge by mergekit in a process of its own: `python mergekitOnce.py CONFIG OUT THREADS`.

Prints how long it took without imports, and the CPU time of all threads, in milliseconds. THREADS 0: torch's default.
"""

import json
import sys
import time

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

config, out, threads = sys.argv[1:]
if int(threads):
    torch.set_num_threads(int(threads))
with open(config, encoding="utf-8") as file:
    merge_config = MergeConfiguration.model_validate(yaml.safe_load(file))
options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
began, cpu = time.perf_counter(), time.process_time()
run_merge(merge_config, out, options)
ms, cpu_ms = (time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000
print(json.dumps({"ms": ms, "cpuMs": cpu_ms}))
