"""Row 110: does transformers load a model folder that Attune wrote (whole or in shards), and compute the same logits?

python parity/check_model.py MODEL_FOLDER --expected parity/fixtures/tiny-llama/forward.safetensors
Exits 1 when the largest difference is above 1e-4, or when a weight is missing or has no place.
"""

import argparse
import sys

import common  # noqa: F401  (offline, one thread)
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--expected", required=True, help="safetensors with input_ids [B,T] and logits [B,T,V]")
parser.add_argument("--tolerance", type=float, default=1e-4)
given = parser.parse_args()

expected = load_file(given.expected)
model, info = AutoModelForCausalLM.from_pretrained(
    given.model, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
)
problems = {key: sorted(names) for key, names in info.items() if names}
print(f"loading: {problems or 'every weight found its place'}")
with torch.no_grad():
    logits = model.eval()(input_ids=expected["input_ids"].long()).logits
worst = (logits - expected["logits"]).abs().max().item()
print(f"largest difference of logits: {worst:.3e} (tolerance {given.tolerance:g})")
sys.exit(0 if worst <= given.tolerance and not problems else 1)
