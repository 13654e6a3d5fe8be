"""Rows 63, 64: checkpoints that bitsandbytes quantised, what they compute, and LoRA on them.

Everything runs on the CPU. Logits and runs are those of the model with the dequantised weights in float32 and PEFT's
LoRA on it: what QLoRA computes but for the rounding of activations, which differs from kernel to kernel.
"""

import copy

import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json, write_tensors
from recording import TRACE, arguments, settings, train
from rows_lora_runs import patterned_rows, report, save_adapter
from tiny import load

CASES = {
    "tiny-llama-tied-nf4": ("tiny-llama-tied", dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)),
    "tiny-qwen2-fp4": ("tiny-qwen2", dict(load_in_4bit=True, bnb_4bit_quant_type="fp4")),
    "tiny-qwen2-int8": ("tiny-qwen2", dict(load_in_8bit=True)),
}


def dequantized(layer):
    if isinstance(layer, Linear4bit):
        return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    return int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB).float()


def main():
    for name, (base, options) in CASES.items():
        folder = fresh_folder(name)
        quantized = AutoModelForCausalLM.from_pretrained(
            FIXTURES / base, quantization_config=BitsAndBytesConfig(**options), dtype=torch.float32)
        quantized.save_pretrained(folder)
        plain = copy.deepcopy(load(base))
        names = []
        for path, layer in quantized.named_modules():
            if isinstance(layer, (Linear4bit, Linear8bitLt)):
                plain.get_submodule(path).weight.data = dequantized(layer)
                names.append(path)
        seed(64)
        ids = torch.randint(3, plain.config.vocab_size, (2, 9))
        with torch.no_grad():
            logits = plain(input_ids=ids).logits
        write_tensors(f"{name}/expected.safetensors", {
            "input_ids": ids, "logits": logits,
            **{f"weight.{path}": plain.get_submodule(path).weight.data for path in names[:2]},
        })
        rows = patterned_rows(16, 2, plain.config.vocab_size)
        model = get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"))
        save_adapter(model, folder / "initial")
        args = arguments(max_steps=20, per_device_train_batch_size=4, learning_rate=1e-2, lr_scheduler_type="linear")
        trace, trainer = train(model, rows, args)
        write_json(f"{name}/run.json", {
            "case": "LoRA on a quantised base, 20 updates", "versions": VERSIONS, "base": base, "quantized": names,
            "conventions": {**TRACE, "files": "the folder itself: the checkpoint as transformers saves it; initial/: the adapter before the run; expected.safetensors: logits before any adapter, and the first two weights dequantised by bitsandbytes"},
            "settings": settings(args, trainer), "trace": trace, "rows": rows,
        })
        report(name, trace)
