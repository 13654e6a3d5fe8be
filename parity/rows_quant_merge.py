"""Merging LoRA into weights that bitsandbytes quantised, as PEFT does: dequantise, add, quantise again."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from common import FIXTURES, fresh_folder, seed, write_tensors
from rows_adapters import randomise
from rows_lora_runs import save_adapter
from rows_qlora import CASES, dequantized


def main():
    for name in CASES:
        folder = fresh_folder(f"quant-merge/{name}")
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32)
        model.name_or_path = model.config._name_or_path = name
        seed(65)
        model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
        randomise(model, 0.1)
        save_adapter(model, folder)
        wanted = {}
        before = {p: dequantized(m.base_layer) for p, m in model.base_model.model.named_modules() if hasattr(m, "lora_A")}
        model.merge_adapter(safe_merge=True)
        for path, layer in model.base_model.model.named_modules():
            if not hasattr(layer, "lora_A"):
                continue
            merged = dequantized(layer.base_layer)
            exact = before[path] + layer.get_delta_weight("default")
            assert (merged - exact).abs().max() < 0.2 * exact.abs().max()
            if "layers.1." in path:
                wanted[f"weight.{path}"] = merged
        write_tensors(f"quant-merge/{name}/expected.safetensors", wanted, base=name)
