"""Row 108: what PEFT's add_weighted_adapter makes of two LoRA adapters, as weight differences."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from common import VERSIONS, fresh_folder, seed, write_json, write_tensors
from rows_lora_runs import save_adapter
from tiny import load

BASE = "tiny-qwen2"
LAYER = "model.layers.0.self_attn.q_proj"
WEIGHTS = [1.0, -0.5]
CASES = {
    "cat": dict(combination_type="cat"),
    "svd": dict(combination_type="svd"),
    "svd rank 3": dict(combination_type="svd", svd_rank=3),
    "ties_svd": dict(combination_type="ties_svd", density=0.4),
    "ties_svd frequency": dict(combination_type="ties_svd", density=0.7, majority_sign_method="frequency"),
    "magnitude_prune_svd": dict(combination_type="magnitude_prune_svd", density=0.3),
    "linear": dict(combination_type="linear"),
    "ties": dict(combination_type="ties", density=0.5),
    "magnitude_prune": dict(combination_type="magnitude_prune", density=0.5),
}


def main():
    folder = fresh_folder("weighted-adapters")
    configs = {
        "one": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        "two": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    }
    for name, config in configs.items():
        seed(108 + len(name))
        model = get_peft_model(load(BASE), config)
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.data = torch.randn_like(parameter) * (0.2 if name == "one" else 0.3)
        save_adapter(model, folder / name)
    both = PeftModel.from_pretrained(load(BASE), folder / "one", adapter_name="one")
    both.load_adapter(folder / "two", adapter_name="two")
    deltas, ranks = {}, {}
    for i, (name, options) in enumerate(CASES.items()):
        both.add_weighted_adapter(["one", "two"], WEIGHTS, adapter_name=f"case{i}", **options)
        layer = both.base_model.model.get_submodule(LAYER)
        deltas[name] = layer.get_delta_weight(f"case{i}").detach()
        ranks[name] = both.peft_config[f"case{i}"].r
    write_tensors("weighted-adapters/expected.safetensors", deltas)
    write_json("weighted-adapters/cases.json", {
        "row": 108, "case": "add_weighted_adapter of two LoRA adapters", "versions": VERSIONS, "base": BASE, "layer": LAYER,
        "weights": WEIGHTS, "ranks": ranks, "options": CASES,
        "conventions": {"files": "one/, two/: adapters as PEFT saves them; expected.safetensors: scale * B A of the new adapter on `layer`, by case",
                        "_svd and svd": "on weight differences; the others on A and B each (peftCompat)"},
    })
