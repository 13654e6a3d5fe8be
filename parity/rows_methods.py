"""Rows 47, 48, 51, 54: methods other than LoRA. Adapters that PEFT saved, or for methods that PEFT lacks a few lines of
torch in the format of ours: logits, gradients, and 20 updates by transformers.Trainer.
"""

import json

import torch
from peft import IA3Config, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json, write_tensors
from recording import TRACE, arguments, settings, train
from rows_adapters import randomise
from rows_lora_runs import patterned_rows, report, save_adapter
from tiny import load

BASES = {"llama": "tiny-llama", "qwen2": "tiny-qwen2"}

PEFT = {
    "ia3": lambda: IA3Config(task_type="CAUSAL_LM"),
    "ia3-attention": lambda: IA3Config(task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], feedforward_modules=["o_proj"]),
    "vera": lambda: VeraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj", "down_proj"], projection_prng_key=3),
    "vera-drawn": lambda: VeraConfig(task_type="CAUSAL_LM", r=8, save_projection=False, d_initial=0.2),
}


class Bottleneck(nn.Module):
    """h + W_up act(W_down h + b_down) + b_up on what a block gives."""

    def __init__(self, width, size, activation):
        super().__init__()
        self.adapter_down = nn.Linear(width, size)
        self.adapter_up = nn.Linear(size, width)
        self.activation = activation
        nn.init.zeros_(self.adapter_down.bias)
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def hook(self, module, inputs, output):
        h, *rest = output if isinstance(output, tuple) else (output,)
        h = h + self.adapter_up(self.activation(self.adapter_down(h)))
        return (h, *rest) if isinstance(output, tuple) else h


def with_bottlenecks(model, blocks, size, activation):
    model.requires_grad_(False)
    for layer in model.model.layers:
        for name in blocks:
            block = getattr(layer, name)
            adapter = Bottleneck(model.config.hidden_size, size, activation)
            block.register_forward_hook(adapter.hook)
            block.add_module("adapter", adapter)
    return model


def selected(model, chosen):
    for name, p in model.named_parameters():
        p.requires_grad_(chosen(name))
    return model


TORCH = {
    "adapter-houlsby": (dict(peft_type="ADAPTER", variant="houlsby", reduction_factor=8),
                        lambda m: with_bottlenecks(m, ["self_attn", "mlp"], m.config.hidden_size // 8, nn.SiLU())),
    "adapter-pfeiffer": (dict(peft_type="ADAPTER", variant="pfeiffer", bottleneck_size=6, non_linearity="gelu"),
                         lambda m: with_bottlenecks(m, ["mlp"], 6, nn.GELU())),
    "bitfit": (dict(peft_type="BITFIT"), lambda m: selected(m, lambda n: n.endswith(".bias"))),
    "layer-select": (dict(peft_type="LAYER_SELECT", last_layers=1, final_norm=True),
                     lambda m: selected(m, lambda n: n.startswith("model.layers.1.") or n == "model.norm.weight")),
    "full": (dict(peft_type="FULL"), lambda m: selected(m, lambda n: True)),
}


def file_names(model):
    """Trainable parameters by their names in an adapter's file."""
    if hasattr(model, "peft_config"):
        return {n.replace(".default", "").replace("vector.weight", "vector"): p for n, p in model.named_parameters() if p.requires_grad}
    return {"base_model.model." + n.replace(".adapter.", "."): p for n, p in model.named_parameters() if p.requires_grad}


def record(name, base, model, extra):
    folder = FIXTURES / f"methods/{name}"
    model.eval()
    ids = torch.randint(3, model.config.vocab_size, (2, 9))
    logits = model(input_ids=ids).logits[:, -ids.shape[1]:]  # those of virtual tokens, which stand first, are no part of it
    loss = nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    names = file_names(model)
    grads = dict(zip(names, torch.autograd.grad(loss, names.values())))
    small = {n: g for n, g in grads.items() if g.numel() <= 1024}
    write_tensors(f"methods/{name}/expected.safetensors", {
        "input_ids": ids, "logits": logits.detach(), **{f"grad.{n}": g for n, g in small.items()}}, base=base)
    plain = load(base)(input_ids=ids).logits
    rows = patterned_rows(16, 2, model.config.vocab_size)
    args = arguments(max_steps=20, per_device_train_batch_size=2, learning_rate=3e-3, lr_scheduler_type="linear")
    trace, trainer = train(model, rows, args)
    write_json(f"methods/{name}/run.json", {
        "case": f"{name}: logits, gradients, 20 updates", "versions": VERSIONS, "base": base, **extra,
        "conventions": {**TRACE, "folder": "adapter_config.json, adapter_model.safetensors: the adapter before the run, random; without them it starts as the base",
                        "expected.safetensors": "input_ids [2,9], logits in eval mode, grad.<name in the adapter's file> of the mean next-token cross-entropy, of tensors up to 1024 numbers"},
        "trainable": {n: list(p.shape) for n, p in names.items()},
        "baseLogitsMaxDifference": (logits - plain).abs().max().item(),
        "settings": settings(args, trainer), "trace": trace, "rows": rows,
    })
    report(name, trace)
    return folder


def main():
    for key, config in PEFT.items():
        for family, base in BASES.items():
            name = f"{key}-{family}"
            folder = fresh_folder(f"methods/{name}")
            seed(47)
            model = get_peft_model(load(base), config())
            randomise(model)
            save_adapter(model, folder)
            merged = {}
            if key.startswith("ia3"):
                copy = get_peft_model(load(base), config())
                copy.load_state_dict(model.state_dict())
                ids = torch.randint(3, model.config.vocab_size, (2, 9))
                with torch.no_grad():
                    worst = (copy.eval()(input_ids=ids).logits - copy.merge_and_unload()(input_ids=ids).logits).abs().max().item()
                merged = {"mergedLogitsMaxDifference": worst}
            record(name, base, model, {"config": json.loads((folder / "adapter_config.json").read_text()), **merged,
                                       "saved": {k: list(v.shape) for k, v in load_file(folder / "adapter_model.safetensors").items()}})
    for key, (config, make) in TORCH.items():
        for family, base in BASES.items():
            if key == "bitfit" and family == "llama":
                continue  # it has no biases
            name = f"{key}-{family}"
            folder = fresh_folder(f"methods/{name}")
            seed(48)
            model = make(load(base))
            if key.startswith("adapter"):
                randomise(model)
                (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
                save_file({n: p.detach().clone() for n, p in file_names(model).items()}, folder / "adapter_model.safetensors")
            record(name, base, model, {"config": config})
