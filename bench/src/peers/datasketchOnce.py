"""Duplicates of a file of rows by datasketch, in a process of its own:
`python datasketchOnce.py FILE THRESHOLD BANDS ROWS [OUT]`.

The shingles are ours: 5 words, 5 characters of rows of fewer than 30 words. A row goes if the index has one with a band
alike, and is added to it otherwise. BANDS 0: datasketch's own banding. Writes [row, candidates] of each row that goes
to OUT, if there is one. Prints how long it took from the file on, and the CPU time, in milliseconds.
"""

import json
import sys
import time

from datasketch import MinHash, MinHashLSH

file, threshold, bands, rows, *out = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
lsh = (
    MinHashLSH(num_perm=int(bands) * int(rows), params=(int(bands), int(rows)))
    if int(bands)
    else MinHashLSH(threshold=float(threshold), num_perm=128)
)
num_perm = lsh.h
dropped, kept = [], 0
with open(file, encoding="utf-8") as lines:
    for index, line in enumerate(lines):
        text = json.loads(line)["text"]
        words = text.split()
        tokens, joint = (text, "") if len(words) < 30 else (words, " ")
        shingles = {joint.join(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))}
        signature = MinHash(num_perm=num_perm)
        signature.update_batch([shingle.encode("utf-8") for shingle in shingles])
        found = lsh.query(signature)
        if found:
            dropped.append([index, found])
        else:
            lsh.insert(index, signature, check_duplication=False)
            kept += 1
ms, cpu_ms = (time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000
if out:
    with open(out[0], "w", encoding="utf-8") as file:
        json.dump(dropped, file)
print(json.dumps({"ms": ms, "cpuMs": cpu_ms, "kept": kept}))
