"""Row 57: portable exports. What the adapters add to each weight, as PEFT computes it, and PEFT's logits with the folders
that Attune wrote of them (parity/portable.ts)."""

import torch
from peft import PeftModel

from common import FIXTURES, seed, write_tensors
from tiny import load

ADAPTERS = {
    "rslora-qv": ("adapters/rslora-qv", "tiny-llama"),
    "patterns": ("adapters/patterns", "tiny-llama"),
    "pissa": ("lora-variants/pissa-saved/plain", "tiny-qwen2"),
    "olora-rslora": ("lora-variants/olora-saved/plain", "tiny-qwen2"),
}


def main():
    for name, (folder, base) in ADAPTERS.items():
        original = PeftModel.from_pretrained(load(base), FIXTURES / folder).eval()
        deltas = {path: m.get_delta_weight("default").detach() for path, m in original.base_model.model.named_modules() if hasattr(m, "get_delta_weight") and m.r}
        write_tensors(f"row57-portable/{name}.safetensors", deltas, adapter=folder, base=base)

        portable = PeftModel.from_pretrained(load(base), FIXTURES / "row57-portable" / name).eval()
        seed(57)
        ids = torch.randint(3, portable.config.vocab_size, (1, 7))
        with torch.no_grad():
            logits = portable(input_ids=ids).logits
            off = (logits - original(input_ids=ids).logits).abs().max().item()
            plain = (logits - load(base)(input_ids=ids).logits).abs().max().item()
        assert off < 1e-5, f"{name}: with the portable folder PEFT's logits are off by {off}"
        assert plain > 100 * off, f"{name}: the adapter hardly changes the logits"
        write_tensors(f"row57-portable/{name}/expected.safetensors", {"input_ids": ids, "logits": logits}, base=base)
        print(f"  {name}: {len(deltas)} weights; logits with the portable folder differ by {off:.1e}")
