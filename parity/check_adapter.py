"""Row 52: does PEFT load an adapter folder that Attune wrote, and compute the same logits?

python parity/check_adapter.py ADAPTER_FOLDER --base parity/fixtures/tiny-llama --expected parity/fixtures/adapters/lora-qv/expected.safetensors
Exits 1 when the largest difference is above 1e-4, or when PEFT warns of adapter keys or of config keys it does not know.
"""

import argparse
import sys
import warnings

import common  # noqa: F401  (offline, one thread)
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("adapter")
parser.add_argument("--base", required=True)
parser.add_argument("--expected", required=True, help="safetensors with input_ids [B,T] and logits [B,T,V]")
parser.add_argument("--tolerance", type=float, default=1e-4)
given = parser.parse_args()

expected = load_file(given.expected)
base = AutoModelForCausalLM.from_pretrained(given.base, dtype=torch.float32, attn_implementation="eager")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = PeftModel.from_pretrained(base, given.adapter).eval()
problems = [str(w.message) for w in caught if "adapter" in str(w.message).lower() or "key" in str(w.message).lower()]
for problem in problems:
    print(f"warning: {problem}")
with torch.no_grad():
    ids = expected["input_ids"].long()
    logits = model(input_ids=ids).logits[:, -ids.shape[1]:]  # without those of virtual tokens
worst = (logits - expected["logits"]).abs().max().item()
print(f"largest difference of logits: {worst:.3e} (tolerance {given.tolerance:g})")
sys.exit(0 if worst <= given.tolerance and not problems else 1)
