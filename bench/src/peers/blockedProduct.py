"""Rows of the same meaning by vectors of a file, as blocked products of PyTorch, in a process of its own:
`python blockedProduct.py FILE DIMENSION THRESHOLD OUT`.

A row goes if its cosine to an earlier one that stays reaches the threshold. Writes the rows that go to OUT. Prints how
long it took, and the CPU time, in milliseconds; what reading the file takes is not in it.
"""

import json
import sys
import time

import numpy as np
import torch

BATCH = 1024
PART = 8192

file, dimension, threshold, out = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
vectors = torch.from_numpy(np.fromfile(file, dtype=np.float32).reshape(-1, dimension))
began, cpu = time.perf_counter(), time.process_time()
kept = torch.empty_like(vectors)
count, dropped = 0, []
for start in range(0, len(vectors), BATCH):
    batch = vectors[start : start + BATCH]
    best = torch.full((len(batch),), -2.0)
    for at in range(0, count, PART):
        best = torch.maximum(best, (batch @ kept[at : min(at + PART, count)].T).max(1).values)
    goes = (best >= threshold).tolist()
    among = (batch @ batch.T >= threshold).numpy()
    for i in range(len(batch)):
        if not goes[i]:
            goes[i] = any(not goes[j] for j in np.flatnonzero(among[i, :i]))
    stay = [i for i in range(len(batch)) if not goes[i]]
    kept[count : count + len(stay)] = batch[stay]
    count += len(stay)
    dropped += [start + i for i in range(len(batch)) if goes[i]]
ms, cpu_ms = (time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000
with open(out, "w", encoding="utf-8") as file:
    json.dump(dropped, file)
print(json.dumps({"ms": ms, "cpuMs": cpu_ms}))
