"""Row 19: SGD, Adafactor, Lion; 8-bit AdamW. Five updates of two parameters with given gradients."""

import bitsandbytes as bnb
import torch
from bitsandbytes.backends.cpu import ops as bnb_cpu
from transformers.optimization import Adafactor

from common import case, grid, seed, write_row

SHAPES = [(4, 5), (3,)]
STEPS = 5


def run(name, make, settings, shapes=SHAPES, scale=0.3, weight_decay=0.0, state=None, dtype=torch.float64, steps=STEPS, lrs=None):
    """One case: every parameter after every update; its weight decay only on the first parameter."""
    seed(19)
    params = [torch.nn.Parameter(grid(*shape).to(dtype)) for shape in shapes]
    start = [p.detach().clone() for p in params]
    grads = [[grid(*shape, scale=scale * (1 + step % 3)).to(dtype) for shape in shapes] for step in range(steps)]
    opt = make([{"params": params[:1], "weight_decay": weight_decay}, {"params": params[1:], "weight_decay": 0.0}])
    lrs = lrs or [settings["lr"] * (1 - 0.1 * step) for step in range(steps)]
    path = []
    for step in range(steps):
        for group in opt.param_groups:
            if group["lr"] is not None:
                group["lr"] = lrs[step]
        for p, g in zip(params, grads[step]):
            p.grad = g.clone()
        opt.step()
        path.append(torch.cat([p.detach().flatten() for p in params]))
    outputs = {"path": torch.stack(path)}
    for i, p in enumerate(params):
        for key in state or []:
            if key in opt.state[p]:
                outputs[f"{key}{i}"] = opt.state[p][key].detach()
    return case(name, inputs={f"p{i}": p for i, p in enumerate(start)} | {f"g{i}": torch.stack([g[i] for g in grads]) for i in range(len(shapes))},
                attrs={**settings, "lrPerStep": lrs, "weightDecay": [weight_decay, 0.0]}, outputs=outputs)


def main():
    cases = []
    for name, kw, wd in [("plain", {}, 0.0), ("decay", {}, 0.1), ("momentum", {"momentum": 0.9}, 0.1),
                         ("dampening", {"momentum": 0.8, "dampening": 0.3}, 0.0), ("nesterov", {"momentum": 0.9, "nesterov": True}, 0.1)]:
        cases.append(run(f"sgd/{name}", lambda groups: torch.optim.SGD(groups, lr=0.1, **kw), {"optim": "sgd", "lr": 0.1, "options": kw}, weight_decay=wd, state=["momentum_buffer"]))

    own = {"scale_parameter": "scaleParameter", "relative_step": "relativeStep", "warmup_init": "warmupInit",
           "clip_threshold": "clipThreshold", "decay_rate": "decayRate", "beta1": "beta1"}
    fixed = {"scale_parameter": False, "relative_step": False}
    for name, kw, wd in [("trainer", fixed, 0.0), ("decay", fixed, 0.1), ("first-moment", {**fixed, "beta1": 0.9}, 0.0),
                         ("scaled", {"scale_parameter": True, "relative_step": False}, 0.0),
                         ("relative", {"scale_parameter": True, "relative_step": True}, 0.0),
                         ("warmup", {"scale_parameter": True, "relative_step": True, "warmup_init": True}, 0.1),
                         ("threshold", {**fixed, "clip_threshold": 0.4, "decay_rate": -0.5}, 0.0)]:
        lr = None if kw["relative_step"] else 0.05
        cases.append(run(f"adafactor/{name}", lambda groups: Adafactor(groups, lr=lr, **kw),
                         {"optim": "adafactor", "lr": lr or 0.0, "options": {own[k]: v for k, v in kw.items()}},
                         weight_decay=wd, state=["exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq", "exp_avg"]))
    cases.append(run("adafactor/three-axes", lambda groups: Adafactor(groups, lr=0.05, **fixed), {"optim": "adafactor", "lr": 0.05, "options": {}},
                     shapes=[(2, 3, 4), (3,)], state=["exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq"]))

    for name, betas, wd in [("paper", (0.9, 0.99), 0.0), ("decay", (0.95, 0.98), 0.1)]:
        cases.append(run(f"lion/{name}", lambda groups: bnb.optim.Lion(groups, lr=0.01, betas=betas, optim_bits=32),
                         {"optim": "lion", "lr": 0.01, "options": {"beta1": betas[0], "beta2": betas[1]}}, weight_decay=wd, state=["state1"], dtype=torch.float32))
    write_row(19, "optimizers", "torch.optim.SGD, transformers Adafactor, bitsandbytes Lion: five updates, two parameters in two groups",
              {"float64": {"abs": 1e-12, "rel": 1e-10}, "float32": {"abs": 1e-6, "rel": 1e-5}}, cases,
              {"path": "[steps, N]: both parameters flattened, after each update; g<i> is [steps, ...shape]",
               "options": "what the optimizer is made with, in our spelling", "lion": "float32, the others float64"})

    # bitsandbytes looks codes up in a coarse table on the CPU and misses the nearest for one in a thousand; on a GPU it
    # takes the nearest, as its fallback in Python does: that one is used.
    def nearest(values, code, absmax_out, out, blocksize):
        blocks = values.flatten().split(blocksize)
        absmax_out.copy_(torch.stack([b.abs().max() for b in blocks]))
        shares = torch.cat([b * (1 / b.abs().max().clamp_min(1e-38)) for b in blocks])
        out.copy_(torch.bucketize(shares, (code[1:] + code[:-1]) / 2).to(torch.uint8).reshape(out.shape))

    bnb_cpu._quant_blockwise_fp32_direct = nearest
    eight = run("adamw8bit", lambda groups: bnb.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999), optim_bits=8, min_8bit_size=512), {"optim": "adamw_8bit", "lr": 0.01, "options": {}},
                shapes=[(4, 150), (7,)], scale=0.1, weight_decay=0.1, state=["state1", "state2", "absmax1", "absmax2"], dtype=torch.float32, steps=3)
    write_row(19, "adamw-8bit", "bitsandbytes AdamW, optim_bits=8: three updates; the parameter of 7 numbers has float32 moments",
              {"abs": 1e-6, "rel": 1e-5}, [eight], {"min8bitSize": "512 here, so that 600 numbers have codes: two full blocks and a short one"})
