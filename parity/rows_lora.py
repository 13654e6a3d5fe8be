"""Rows 36, 37, 43: LoRA on one linear layer: forward and backward, init statistics, merge and unmerge."""

import math

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from common import G, S, case, grid, seed, write_row


class One(nn.Module):
    """A model with a single linear layer `proj`."""

    def __init__(self, inputs, outputs, bias=False, dtype=torch.float32):
        super().__init__()
        self.proj = nn.Linear(inputs, outputs, bias=bias, dtype=dtype)

    def forward(self, x):
        return self.proj(x)


def wrap(weight, bias=None, a=None, b=None, autocast=True, **config):
    """PEFT's LoRA linear over the given weight [out,in], with given A [r,in] and B [out,r]."""
    model = One(weight.shape[1], weight.shape[0], bias is not None, weight.dtype)
    with torch.no_grad():
        model.proj.weight.copy_(weight)
        if bias is not None:
            model.proj.bias.copy_(bias)
    model = get_peft_model(model, LoraConfig(target_modules=["proj"], **config), autocast_adapter_dtype=autocast)
    layer = model.base_model.model.proj
    if weight.dtype == torch.float64:
        layer.double()
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(a)
        layer.lora_B["default"].weight.copy_(b)
    return model, layer


def forward_row():
    seed(36)
    cases = []
    for name, bias, config, shape in [
        ("plain", False, dict(r=2, lora_alpha=4), (2, 3)),
        ("with-bias", True, dict(r=2, lora_alpha=4), (2, 3)),
        ("rslora", False, dict(r=4, lora_alpha=4, use_rslora=True), (5,)),
        ("rank-1", False, dict(r=1, lora_alpha=3), (1,)),
    ]:
        r, inputs, outputs = config["r"], 4, 6
        w, a, b = grid(outputs, inputs), grid(r, inputs), grid(outputs, r)
        bias = grid(outputs) if bias else None
        model, layer = wrap(w, bias, a, b, **config)
        x = grid(*shape, inputs).requires_grad_(True)
        out = model(x)
        d_out = grid(*out.shape)
        layer.base_layer.weight.requires_grad_(True)  # PEFT freezes it; its gradient is given for a check of dX only
        pa, pb = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        dx, da, db = torch.autograd.grad(out, (x, pa, pb), d_out)
        scale = layer.scaling["default"]
        by_hand = x @ w.T + (0 if bias is None else bias) + scale * (x @ a.T @ b.T)
        assert torch.allclose(out, by_hand, atol=1e-12)
        cases.append(case(name, inputs={"x": x, "W": w, "bias": bias, "A": a, "B": b},
                          attrs={"r": r, "alpha": config["lora_alpha"], "useRslora": config.get("use_rslora", False), "scaling": scale},
                          outputs={"out": out, "dOut": d_out}, grads={"x": dx, "A": da, "B": db}))
    write_row(36, "lora-linear", "LoRA linear forward and backward (PEFT)", {"float64": {"abs": 1e-10, "rel": 1e-10}, "float32": G}, cases,
              {"shapes": "x [..., in], W [out,in], A [r,in], B [out,r]", "formula": "x W^T + bias + scaling * (x A^T) B^T; scaling alpha/r, rsLoRA alpha/sqrt(r)", "grads": "of sum(out * dOut); W is frozen", "computed": "float64"})


def init_row():
    cases = []
    for inputs, outputs, r in [(1024, 256, 16), (64, 32, 8)]:
        for init, label in [(True, "default"), ("gaussian", "gaussian")]:
            seed(37)
            model = get_peft_model(One(inputs, outputs), LoraConfig(target_modules=["proj"], r=r, lora_alpha=r, init_lora_weights=init))
            layer = model.base_model.model.proj
            a, b = layer.lora_A["default"].weight.detach().double(), layer.lora_B["default"].weight.detach()
            n = a.numel()
            if init is True:
                bound = 1 / math.sqrt(inputs)
                expect = {"distribution": "uniform(-bound, bound)", "bound": bound, "std": bound / math.sqrt(3)}
                assert a.abs().max() <= bound
                spread = 3 * expect["std"] * math.sqrt(0.8 / (4 * n))  # var of s^2 for uniform: sigma^4 * 0.8 / n
            else:
                expect = {"distribution": "normal(0, std)", "std": 1 / r}
                spread = 3 * expect["std"] / math.sqrt(2 * n)
            assert bool((b == 0).all()) and abs(a.std().item() - expect["std"]) < spread
            cases.append(case(f"{label}-in{inputs}-r{r}", attrs={"in": inputs, "out": outputs, "r": r, "initLoraWeights": init, **expect,
                                                                   "mean": 0, "meanWithin3Sigma": 3 * expect["std"] / math.sqrt(n), "stdWithin3Sigma": spread, "B": "all zero"},
                              measured={"mean": a.mean().item(), "std": a.std().item(), "maxAbs": a.abs().max().item()}))
    write_row(37, "lora-init", "LoRA init statistics", {"rule": "3 sigma: |mean| <= meanWithin3Sigma, |std - expected| <= stdWithin3Sigma, |a| <= bound"}, cases,
              {"A": "[r,in]; default kaiming_uniform(a=sqrt 5) = U(+-1/sqrt(in)); gaussian std is 1/r", "measured": "one draw by PEFT, seed 37; draws are not to be reproduced"})


def merge_row():
    cases = []
    for name, dtype, autocast in [("float32", torch.float32, True), ("bfloat16-base-float32-adapter", torch.bfloat16, True), ("bfloat16-base-bfloat16-adapter", torch.bfloat16, False)]:
        seed(43)
        w = torch.randn(8, 8).to(dtype)
        adapter = torch.float32 if autocast else dtype
        a, b = (torch.randn(2, 8) * 0.3).to(adapter), (torch.randn(8, 2) * 0.3).to(adapter)
        results = {}
        for safe in (False, True):
            model, layer = wrap(w, None, a, b, autocast, r=2, lora_alpha=4)
            assert layer.lora_A["default"].weight.dtype == adapter
            layer.merge(safe_merge=safe)
            results[safe] = layer.get_base_layer().weight.detach().clone()
            delta = layer.get_delta_weight("default")
            layer.unmerge()
            results[safe, "back"] = layer.get_base_layer().weight.detach().clone()
        cases.append(case(name, inputs={"W": w, "A": a, "B": b}, attrs={"r": 2, "alpha": 4, "scaling": 2.0, "safeEqualsPlain": torch.equal(results[False], results[True])},
                          tolerance=S if dtype == torch.float32 else {"ulp": 1, "note": "bfloat16; most values exact"},
                          outputs={"delta": delta, "merged": results[False], "unmerged": results[False, "back"], "safeMerged": results[True], "unmergedAfterSafe": results[True, "back"]},
                          unmergedEqualsW=torch.equal(results[False, "back"], w)))
        assert cases[-1]["name"] != "float32" or torch.allclose(results[False, "back"], w, atol=1e-6)

    seed(43)
    w, a, b = grid(8, 8, dtype=torch.float32), grid(2, 8, dtype=torch.float32), grid(8, 2, dtype=torch.float32)
    for name, value in [("inf", math.inf), ("nan", math.nan)]:
        broken = b.clone()
        broken[3, 1] = value
        model, layer = wrap(w, None, a, broken, r=2, lora_alpha=4)
        try:
            layer.merge(safe_merge=True)
            raise AssertionError("safe_merge must refuse")
        except ValueError as error:
            message = str(error)
        cases.append(case(f"safe-merge-refuses-{name}", inputs={"W": w, "A": a, "B": broken}, attrs={"r": 2, "alpha": 4, "error": "ValueError", "message": message},
                          baseUnchanged=torch.equal(layer.get_base_layer().weight, w)))
    write_row(43, "lora-merge", "merge and unmerge, float32 and bfloat16; safe_merge", S, cases,
              {"formula": "W += scaling * B A", "bfloat16": "plain merge with a float32 adapter adds the float32 delta and rounds once; safe merge and unmerge round the delta to bfloat16 first, then add and round: the two may differ by an ulp",
               "shapes": "W [out,in], A [r,in], B [out,r]"})


def main():
    forward_row()
    init_row()
    merge_row()
