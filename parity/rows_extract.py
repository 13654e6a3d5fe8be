"""Row 107: a full fine-tune as LoRA. The nearest matrices of rank r to the weight differences, by torch.linalg.svd in float64."""

import torch

from common import VERSIONS, seed, write_json, write_tensors
from tiny import load

LAYERS = ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"]


def main():
    seed(107)
    model = load("tiny-qwen2")
    noise, expected, energies = {}, {}, {}
    for name, parameter in model.named_parameters():
        path, _, kind = name.rpartition(".")
        if kind != "weight" or "proj" not in path:
            continue
        noise[name] = 0.05 * torch.randn_like(parameter)
        if path not in LAYERS:
            continue
        # The difference as a reader of float32 weights sees it.
        delta = ((parameter + noise[name]) - parameter).detach().double()
        u, s, vh = torch.linalg.svd(delta, full_matrices=False)
        for rank in (2, 8):
            expected[f"{path}.r{rank}"] = ((u[:, :rank] * s[:rank]) @ vh[:rank]).float()
            energies[f"{path}.r{rank}"] = ((s[:rank] ** 2).sum() / (s**2).sum()).item()
    write_tensors("row107-extract/noise.safetensors", noise)
    write_tensors("row107-extract/expected.safetensors", expected)
    write_json("row107-extract/cases.json", {
        "row": 107, "case": "LoRA out of a full fine-tune", "versions": VERSIONS, "layers": LAYERS, "energies": energies,
        "conventions": {"noise": "added to tiny-qwen2's weights makes the tuned model", "expected": "<layer>.r<rank>: B A", "energies": "|B A|^2 / |difference|^2"},
    })
