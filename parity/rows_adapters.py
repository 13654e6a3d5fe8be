"""Rows 52-55: adapter folders that PEFT saved (random A and B), their logits, keys and shapes, and the default config."""

import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file

from common import E, fresh_folder, seed, write_row, write_tensors
from rows_lora_runs import save_adapter
from tiny import load

QV = ["q_proj", "v_proj"]

ADAPTERS = {
    "lora-qv": ("tiny-llama", dict(r=8, lora_alpha=16, target_modules=QV)),
    "lora-qv-tied": ("tiny-llama-tied", dict(r=4, lora_alpha=8, target_modules=QV)),
    "rslora-qv": ("tiny-llama", dict(r=8, lora_alpha=16, target_modules=QV, use_rslora=True)),
    "patterns": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"],
                                    rank_pattern={"q_proj": 2, "layers.1.self_attn.v_proj": 6, r"layers\.0\.mlp\.down_proj": 3},
                                    alpha_pattern={"v_proj": 32, "model.layers.1.mlp.down_proj": 1})),
    "all-linear": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "modules-to-save-lm-head": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=QV, modules_to_save=["lm_head"])),
    "layers-to-transform": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=QV, layers_to_transform=[1])),
    "regex": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=r".*\.0\.mlp\.(gate|up)_proj")),
    "dora-qv": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=QV, use_dora=True)),
    "qwen2-dora-rslora": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], use_dora=True, use_rslora=True)),
    "qwen2-qv": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=QV)),
    "qwen2-bias-lora-only": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=QV, bias="lora_only")),
    "qwen2-bias-all": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=QV, bias="all")),
    "qwen2-lora-bias": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=QV, lora_bias=True)),
}


def randomise(model, std=0.15):
    """Every trainable tensor away from its start: A, B, and the biases and heads that are trained with them."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * std)


def adapter_rows():
    keys = []
    for name, (base, options) in ADAPTERS.items():
        folder = fresh_folder(f"adapters/{name}")
        seed(53)
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **options))
        randomise(model)
        model.eval()
        save_adapter(model, folder)

        ids = torch.randint(3, model.config.vocab_size, (2, 9))
        with torch.no_grad():
            plain = load(base)(input_ids=ids).logits
            logits = model(input_ids=ids).logits
            again = PeftModel.from_pretrained(load(base), folder).eval()(input_ids=ids).logits
            assert torch.equal(logits, again), f"{name}: what PEFT saved is not what it loads"
            merged = PeftModel.from_pretrained(load(base), folder).merge_and_unload()(input_ids=ids).logits
            assert torch.allclose(logits, merged, atol=1e-4)
            moved = (logits - plain).abs().max().item()
            assert moved > 0.05, f"{name}: the adapter hardly changes the logits"
        write_tensors(f"adapters/{name}/expected.safetensors", {"input_ids": ids, "logits": logits}, base=base)

        saved = load_file(folder / "adapter_model.safetensors")
        state = get_peft_model_state_dict(model)
        assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in state.items()}
        scaling = {n: m.scaling["default"] for n, m in model.base_model.model.named_modules() if isinstance(getattr(m, "scaling", None), dict)}
        keys.append({
            "name": name,
            "attrs": {"base": base, **options},
            "outputs": {
                "keys": {k: list(v.shape) for k, v in sorted(saved.items())},
                "dtypes": sorted({str(v.dtype)[6:] for v in saved.values()}),
                "scaling": scaling,
                "trainable": {n: list(p.shape) for n, p in model.named_parameters() if p.requires_grad},
                "trainableParameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "mergedLogitsMaxDifference": (logits - merged).abs().max().item(),
                "baseLogitsMaxDifference": moved,
            },
        })
        print(f"  {name}: {len(saved)} tensors, logits move by {moved:.2f}")
    write_row(54, "adapter-keys", "key names and shapes of saved adapters (folders: fixtures/adapters/<name>)", E, keys,
              {"keys": "names and shapes in adapter_model.safetensors, sorted", "scaling": "per adapted module (name within the base model): alpha/r, rsLoRA alpha/sqrt(r), after the patterns",
               "trainable": "PEFT's parameter names while training (with .default), in model order",
               "rows 52, 53": "expected.safetensors: input_ids [2,9] int32, logits [2,9,V] float32 of base + adapter, tolerance 1e-4; check_adapter.py loads a folder that we wrote"})


def config_row():
    folder = fresh_folder("lora-config-default")
    LoraConfig().save_pretrained(folder)
    full = json.loads((folder / "adapter_config.json").read_text())
    cases = [{"name": "LoraConfig()", "outputs": {"savedKeys": list(full), "saved": full}}]

    filled = dict(task_type="CAUSAL_LM", base_model_name_or_path="tiny-llama", r=4, lora_alpha=8, lora_dropout=0.05, target_modules=QV, bias="none",
                  use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 4}, layers_to_transform=[1], modules_to_save=["lm_head"])
    typical = LoraConfig(**filled)
    typical.save_pretrained(folder / "typical")
    text = (folder / "typical" / "adapter_config.json").read_text()
    loaded = LoraConfig.from_pretrained(folder / "typical")
    assert {**loaded.to_dict(), "inference_mode": False} == {**typical.to_dict(), "inference_mode": False}
    cases.append({"name": "typical", "attrs": filled, "outputs": {"saved": json.loads(text)}})

    # the smallest file that PEFT reads back as intended: everything else takes its default
    small = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny-llama", "r": 4, "lora_alpha": 8, "target_modules": QV}
    (folder / "small").mkdir()
    (folder / "small" / "adapter_config.json").write_text(json.dumps(small, indent=2, sort_keys=True))
    got = LoraConfig.from_pretrained(folder / "small").to_dict()
    differs = {k: v for k, v in got.items() if v != LoraConfig().to_dict()[k] and k not in small}
    cases.append({"name": "small-file", "attrs": small, "outputs": {"loadedBeyondDefaults": {k: (v if isinstance(v, (str, int, float, bool, list, dict)) or v is None else str(v)) for k, v in differs.items()}}})
    for extra in ("typical", "small"):
        (folder / extra / "adapter_config.json").unlink()
        (folder / extra).rmdir()
    assert not (folder / "adapter_config.json").read_text().endswith("\n")
    write_row(55, "lora-config", "adapter_config.json: the default, a typical one, round trips", E, cases,
              {"file": "fixtures/lora-config-default/adapter_config.json is the file byte for byte as PEFT writes LoraConfig(): indent 2, sorted keys, no newline at the end, inference_mode true, sets as lists"})


def main():
    adapter_rows()
    config_row()
