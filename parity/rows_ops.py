"""Row 8: forward and gradients of every op, in float64.

Each case: outputs = f(inputs); L = sum(out * dOut); grads = dL/dinput. All inputs are multiples of 2^-10, so they are
the same number in float32. A float64 engine should agree to 1e-10, a float32 one to 1e-5.
"""

import math

import torch
import torch.nn.functional as F
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from common import case, grid, seed, write_row


def differentiate(name, fn, inputs, fixed=None, attrs=None, check=True, op=None):
    """Runs fn(**inputs, **fixed), draws dOut, and returns the case with grads of `inputs` (not of `fixed`)."""
    fixed = fixed or {}
    leaves = {k: v.clone().requires_grad_(True) for k, v in inputs.items()}
    out = fn(**leaves, **fixed)
    d_out = grid(*out.shape)
    grads = torch.autograd.grad(out, list(leaves.values()), d_out)
    if check:
        keys = list(leaves)
        assert torch.autograd.gradcheck(lambda *a: fn(**dict(zip(keys, a)), **fixed), tuple(leaves.values()))
    return case(
        name,
        inputs={**inputs, **fixed},
        attrs={"op": op or name.split("/")[0], **(attrs or {})},
        outputs={"out": out, "dOut": d_out},
        grads=dict(zip(leaves, grads)),
    )


def rope(x, positions, theta):
    """HF layout. x [B,T,H,D], positions [B,T]; angle[i] = position * theta^(-2i/D) for i < D/2, used for i and i+D/2."""
    half = x.shape[-1] // 2
    inverse = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = positions.double()[..., None] * inverse  # [B,T,D/2]
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    rotated = torch.cat([-x[..., half:], x[..., :half]], -1)
    out = x * cos[:, :, None] + rotated * sin[:, :, None]
    hf, _ = apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=2)  # the library's own function on the same cos, sin
    assert torch.equal(out, hf)
    return out


def attention(q, k, v, causal=True, key_mask=None):
    """q [B,Tq,H,D], k and v [B,Tk,Hkv,D] -> [B,Tq,H,D]; query head h reads kv head floor(h / (H/Hkv)); scale 1/sqrt(D).

    Causal: query i stands at position Tk - Tq + i and sees keys at or before it. key_mask [B,Tk]: 1 real, 0 padding.
    """
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    tq, tk = q.shape[1], k.shape[1]
    visible = torch.ones(tq, tk, dtype=torch.bool).tril(tk - tq) if causal else torch.ones(tq, tk, dtype=torch.bool)
    visible = visible[None, None]
    if key_mask is not None:
        visible = visible & key_mask.bool()[:, None, None, :]
    assert visible.any(-1).all(), "a query row that sees no key has no defined softmax"
    probs = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", probs, v)


def rms_norm(x, weight, eps):
    """x * rsqrt(mean(x^2, last) + eps) * weight."""
    out = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight
    assert torch.allclose(out, F.rms_norm(x, (x.shape[-1],), weight, eps), atol=1e-12)
    return out


def main():
    seed(8)
    d = differentiate
    cases = [
        d("matmul/nn", lambda a, b: a @ b, {"a": grid(5, 7), "b": grid(7, 3)}, attrs={"transA": False, "transB": False}),
        d("matmul/nt", lambda a, b: a @ b.T, {"a": grid(5, 7), "b": grid(3, 7)}, attrs={"transA": False, "transB": True}),
        d("matmul/tn", lambda a, b: a.T @ b, {"a": grid(7, 5), "b": grid(7, 3)}, attrs={"transA": True, "transB": False}),
        d("matmul/nn-odd", lambda a, b: a @ b, {"a": grid(17, 33), "b": grid(33, 18)}, attrs={"transA": False, "transB": False}),
        d("matmul/batched-nn", lambda a, b: a @ b, {"a": grid(2, 3, 4), "b": grid(2, 4, 5)}, attrs={"transA": False, "transB": False}),
        d("matmul/batched-nt", lambda a, b: a @ b.mT, {"a": grid(2, 3, 4), "b": grid(2, 5, 4)}, attrs={"transA": False, "transB": True}),
        d("matmul/batched-tn", lambda a, b: a.mT @ b, {"a": grid(2, 4, 3), "b": grid(2, 4, 5)}, attrs={"transA": True, "transB": False}),
        d("matmul/vector-row", lambda a, b: a @ b.T, {"a": grid(1, 9), "b": grid(4, 9)}, attrs={"transA": False, "transB": True}),
        d("linear/3d-bias", F.linear, {"input": grid(2, 3, 4), "weight": grid(6, 4), "bias": grid(6)}, attrs={"weight": "[out,in]"}),
        d("rmsNorm/eps1e-5", lambda x, weight: rms_norm(x, weight, 1e-5), {"x": grid(2, 3, 8), "weight": 1 + grid(8, scale=0.2)}, attrs={"eps": 1e-5}),
        d("rmsNorm/eps-large", lambda x, weight: rms_norm(x, weight, 0.5), {"x": grid(2, 3, 8), "weight": grid(8)}, attrs={"eps": 0.5, "why": "eps outside the root would show"}),
        d("rmsNorm/tiny-x", lambda x, weight: rms_norm(x, weight, 1e-5), {"x": grid(2, 4, scale=0.003), "weight": grid(4)}, attrs={"eps": 1e-5}),
        d("siluMul", lambda gate, up: F.silu(gate) * up, {"gate": grid(2, 3, 5, scale=2), "up": grid(2, 3, 5)}, attrs={"formula": "gate*sigmoid(gate)*up"}),
        d("siluMul/saturated", lambda gate, up: F.silu(gate) * up, {"gate": torch.tensor([-120.0, -30, -1, 0, 1, 30, 120]).double(), "up": grid(7)}, check=False),
        d("softmax", lambda x: x.softmax(-1), {"x": grid(2, 3, 7)}, attrs={"axis": -1}),
        d("softmax/large", lambda x: x.softmax(-1), {"x": grid(2, 5, scale=30) + 1000}, attrs={"axis": -1}),
        d("logSoftmax", lambda x: x.log_softmax(-1), {"x": grid(2, 3, 7)}, attrs={"axis": -1}),
        d("logSoftmax/large", lambda x: x.log_softmax(-1), {"x": grid(2, 5, scale=30) - 1000}, attrs={"axis": -1}),
        d("gelu/erf", lambda x: F.gelu(x), {"x": grid(3, 7, scale=2)}, attrs={"approximate": "none"}),
        d("gelu/tanh", lambda x: F.gelu(x, approximate="tanh"), {"x": grid(3, 7, scale=2)}, attrs={"approximate": "tanh"}),
        d("layerNorm", lambda x, weight, bias: F.layer_norm(x, (8,), weight, bias, 1e-5), {"x": grid(2, 3, 8), "weight": 1 + grid(8, scale=0.2), "bias": grid(8)}, attrs={"eps": 1e-5}),
        d("layerNorm/eps-large", lambda x, weight, bias: F.layer_norm(x, (5,), weight, bias, 0.5), {"x": grid(4, 5), "weight": grid(5), "bias": grid(5)}, attrs={"eps": 0.5}),
        d("layerNorm/no-bias", lambda x, weight: F.layer_norm(x, (5,), weight, None, 1e-5), {"x": grid(4, 5), "weight": grid(5)}, attrs={"eps": 1e-5}),
    ]

    ids = torch.tensor([[3, 0, 3, 10], [10, 3, 1, 0]])
    cases.append(d("embedding/repeated-ids", lambda weight, ids: F.embedding(ids, weight), {"weight": grid(11, 6)}, {"ids": ids}, {"note": "out [B,T,D]; grads.weight [V,D] adds over repeated ids; untouched rows are 0"}))

    consecutive = torch.arange(5).expand(2, 5)
    odd = torch.tensor([[0, 1, 2, 0, 1], [7, 8, 100, 101, 102]])
    for name, positions, theta, dim in [("consecutive", consecutive, 10000.0, 8), ("reset-and-offset", odd, 10000.0, 8), ("theta5e5", odd, 500000.0, 6)]:
        cases.append(
            d(f"rope/{name}", lambda x, positions, theta=theta: rope(x, positions, theta), {"x": grid(2, 5, 3, dim)}, {"positions": positions},
              {"theta": theta, "layout": "x [B,T,H,D]; HF rotate_half: pair (i, i+D/2)", "note": "cos, sin in float64 here; HF models compute them in float32"})
        )

    qkv = lambda tq, tk, h, hkv, dim=4: {"q": grid(2, tq, h, dim), "k": grid(2, tk, hkv, dim), "v": grid(2, tk, hkv, dim)}
    layout = {"layout": "q, out [B,Tq,H,D]; k, v [B,Tk,Hkv,D]; keyMask [B,Tk] 1 real 0 pad", "scale": "1/sqrt(D)"}
    right = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    for name, inputs, fixed, causal in [
        ("gqa-causal", qkv(5, 5, 4, 2), {}, True),
        ("mha-causal", qkv(4, 4, 2, 2), {}, True),
        ("mqa-causal", qkv(4, 4, 4, 1, 6), {}, True),
        ("gqa-causal-key-mask", qkv(5, 5, 4, 2), {"keyMask": right}, True),
        ("gqa-causal-cached", qkv(2, 5, 4, 2), {}, True),
        ("gqa-causal-one-query", qkv(1, 6, 4, 2), {}, True),
        ("gqa-full", qkv(3, 5, 4, 2), {}, False),
    ]:
        fn = lambda q, k, v, keyMask=None, causal=causal: attention(q, k, v, causal, keyMask)
        cases.append(d(f"attention/{name}", fn, inputs, fixed, {"causal": causal, **layout}))

    write_row(8, "ops", "op forward and gradients", {"float64": {"abs": 1e-10, "rel": 1e-10}, "float32": {"abs": 1e-5, "rel": 1e-5}}, cases,
              {"grads": "grads.<input> = d sum(out * dOut) / d input", "inputs": "multiples of 2^-10 (1000-offset cases too): exact in float32", "computed": "float64"})
