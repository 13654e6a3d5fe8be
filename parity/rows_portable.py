"""Row 57: what adapters add to each weight, as PEFT computes it, for portable exports of them to be compared with."""

from peft import PeftModel

from common import FIXTURES, write_tensors
from tiny import load

ADAPTERS = {
    "rslora-qv": ("adapters/rslora-qv", "tiny-llama"),
    "patterns": ("adapters/patterns", "tiny-llama"),
    "pissa": ("lora-variants/pissa-saved/plain", "tiny-qwen2"),
    "olora-rslora": ("lora-variants/olora-saved/plain", "tiny-qwen2"),
}


def main():
    for name, (folder, base) in ADAPTERS.items():
        model = PeftModel.from_pretrained(load(base), FIXTURES / folder).base_model.model
        deltas = {path: m.get_delta_weight("default").detach() for path, m in model.named_modules() if hasattr(m, "get_delta_weight") and m.r}
        write_tensors(f"row57-portable/{name}.safetensors", deltas, adapter=folder, base=base)
        print(f"  {name}: {len(deltas)} weights")
