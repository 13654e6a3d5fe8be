"""Rows 17, 18, 20, 22, 23 (and decay groups): AdamW, gradient clipping, schedules. Rows 19, 24, 25: rows_optimizers.py."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer
from transformers import optimization as hf

from common import E, S, case, grid, seed, write_row
from tiny import load


def adamw_rows():
    cases = []
    for dtype in (torch.float64, torch.float32):
        for name, kw in [("readme", dict(lr=0.01, weight_decay=0.1)), ("no-decay", dict(lr=0.01, weight_decay=0.0)), ("eps-large", dict(lr=0.01, weight_decay=0.1, eps=0.1))]:
            p = torch.nn.Parameter(torch.tensor([1.0], dtype=dtype))
            p.grad = torch.tensor([0.1], dtype=dtype)
            opt = torch.optim.AdamW([p], **kw)
            opt.step()
            state = opt.state[p]
            cases.append(case(f"{name}-{str(dtype)[6:]}", inputs={"p": torch.tensor([1.0], dtype=dtype), "g": p.grad},
                              attrs={"lr": kw["lr"], "weightDecay": kw["weight_decay"], "betas": [0.9, 0.999], "eps": kw.get("eps", 1e-8), "step": 1},
                              outputs={"p": p, "m": state["exp_avg"], "v": state["exp_avg_sq"]}))
    write_row(17, "adamw-one-step", "torch.optim.AdamW, one step", S, cases,
              {"formula": "p *= 1 - lr*wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)"})

    cases = []
    for dtype in (torch.float64, torch.float32):
        seed(18)
        start = [grid(*shape) for shape in [(4,), (3, 2), (5,), (2, 2), (1,), (4,), (3, 2), (5,), (2, 2), (1,)]]
        grads = [[grid(*p.shape, scale=0.1 * (1 + step % 5)) for p in start] for step in range(20)]
        for g in grads[3]:
            g.zero_()  # a step with zero gradients still decays and moves by momentum
        lrs = [1e-2 * min(1, step / 5) * (1 - step / 25) for step in range(20)]
        params = [torch.nn.Parameter(p.to(dtype).clone()) for p in start]
        opt = torch.optim.AdamW([{"params": params[:5], "weight_decay": 0.1}, {"params": params[5:], "weight_decay": 0.0}], lr=1.0)
        path = []
        for step in range(20):
            for group in opt.param_groups:
                group["lr"] = lrs[step]
            for p, g in zip(params, grads[step]):
                p.grad = g.to(dtype).clone()
            opt.step()
            path.append(torch.cat([p.detach().flatten() for p in params]))
        cases.append(case(f"20-steps-{str(dtype)[6:]}",
                          inputs={f"p{i}": p.to(dtype) for i, p in enumerate(start)} | {f"g{i}": torch.stack([g[i] for g in grads]).to(dtype) for i in range(10)},
                          attrs={"lrPerStep": lrs, "betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": {"p0-p4": 0.1, "p5-p9": 0.0}},
                          outputs={f"p{i}": p for i, p in enumerate(params)}
                          | {f"m{i}": opt.state[p]["exp_avg"] for i, p in enumerate(params)} | {f"v{i}": opt.state[p]["exp_avg_sq"] for i, p in enumerate(params)}
                          | {"allParamsPerStep": torch.stack(path)}))

    def groups(name, model):
        decay = Trainer.get_decay_parameter_names(None, model)
        trainable = [n for n, p in model.named_parameters() if p.requires_grad]
        return case(name, attrs={"decay": [n for n in trainable if n in decay], "noDecay": [n for n in trainable if n not in decay]})

    seed(18)
    lora = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], bias="none", lora_bias=True))
    cases += [groups("decay-groups-tiny-llama", load()), groups("decay-groups-tiny-qwen2", load("tiny-qwen2")), groups("decay-groups-lora-with-lora_bias", lora)]
    write_row(18, "adamw-20-steps", "AdamW over 20 steps with two groups; HF decay groups", {"float64": {"abs": 1e-12, "rel": 1e-10}, "float32": {"abs": 1e-6, "rel": 1e-5}}, cases,
              {"shapes": "g<i> is [20, ...shape of p<i>]; allParamsPerStep [20, N] all parameters flattened in order p0..p9 after each step",
               "decayGroups": "trainable parameters in model order; noDecay = LayerNorm modules and names matching bias | layernorm | rmsnorm | (^|.)norm($|.) | _norm($|.)"})


def clip_row():
    cases = []

    def clip(name, grads, max_norm, dtype=torch.float64):
        params = [torch.nn.Parameter(torch.zeros_like(g, dtype=dtype)) for g in grads]
        for p, g in zip(params, grads):
            p.grad = g.to(dtype).clone()
        norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
        coef = torch.clamp(max_norm / (norm.detach() + 1e-6), max=1.0).item()  # NaN stays NaN
        cases.append(case(name, inputs={f"g{i}": g.to(dtype) for i, g in enumerate(grads)}, attrs={"maxNorm": max_norm},
                          outputs={"totalNorm": norm, "coefficient": coef, **{f"clipped{i}": p.grad for i, p in enumerate(params)}}))

    seed(20)
    t = lambda *v: torch.tensor(v).double()
    clip("three-four", [t(3.0, 4.0)], 1.0)
    clip("below-max", [t(0.3, 0.4)], 1.0)
    clip("exactly-max", [t(0.6, 0.8)], 1.0)
    clip("two-tensors", [t(1.0, 2.0), t(2.0).reshape(1, 1)], 1.0)
    clip("max-0.3", [grid(3, 4), grid(5)], 0.3)
    clip("float32", [grid(3, 4), grid(5)], 0.3, torch.float32)
    clip("zero", [t(0.0, 0.0)], 1.0)
    clip("nan", [t(1.0, float("nan"))], 1.0)
    clip("inf", [t(1.0, float("inf"))], 1.0)
    write_row(20, "clip-grad-norm", "torch.nn.utils.clip_grad_norm_", S, cases,
              {"formula": "coef = min(1, maxNorm / (totalNorm + 1e-6)); the norm reported is the one before clipping",
               "nan, inf": "what torch does; ours skips the update and reports"})


def schedule_rows():
    def factors(fn, **kw):
        opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return fn(opt, **kw).lr_lambdas[0]

    def table(name, fn, total, **kw):
        steps = sorted({0, 1, 2, 3, 5, 7, 9, 10, 11, 50, 55, 99, 100, 101, total - 1, total, total + 5, *range(min(total, 30) + 3)})
        f = factors(fn, **kw)
        attrs = {"schedule": name.split("/")[0], "warmupSteps": kw.get("num_warmup_steps", 0), "totalSteps": total}
        if "num_cycles" in kw:
            attrs["numCycles"] = kw["num_cycles"]
        return case(name, attrs=attrs, outputs={"steps": torch.tensor(steps), "factors": torch.tensor([float(f(s)) for s in steps], dtype=torch.float64)})

    flat = [table("constant", hf.get_constant_schedule, 100)]
    for w in (0, 1, 5, 10):
        flat.append(table(f"constant_with_warmup/w{w}", hf.get_constant_schedule_with_warmup, 100, num_warmup_steps=w))
    for w, n in [(10, 100), (0, 100), (1, 7), (5, 5), (3, 30), (10, 8), (0, 1)]:
        flat.append(table(f"linear/w{w}-n{n}", hf.get_linear_schedule_with_warmup, n, num_warmup_steps=w, num_training_steps=n))
    conventions = {"factor": "learning rate of an update = base rate * factor(step), step = updates done before it: the first update has step 0",
                   "after the end": "steps beyond totalSteps are in the table too"}
    write_row(22, "schedules-linear", "constant, constant_with_warmup, linear", E, flat, conventions)

    cosine = []
    for w, n, c in [(10, 100, 0.5), (0, 100, 0.5), (3, 30, 0.5), (5, 20, 0.5), (10, 100, 1.0), (10, 100, 1.5), (0, 12, 2.0), (5, 5, 0.5), (0, 1, 0.5)]:
        cosine.append(table(f"cosine/w{w}-n{n}-c{c}", hf.get_cosine_schedule_with_warmup, n, num_warmup_steps=w, num_training_steps=n, num_cycles=c))
    write_row(23, "schedules-cosine", "cosine", {"abs": 1e-15, "rel": 1e-12}, cosine,
              {**conventions, "formula": "p = (s-w)/max(1,n-w); max(0, 0.5*(1+cos(pi*2*cycles*p))); beyond the end a half cosine rises again"})


def main():
    adamw_rows()
    clip_row()
    schedule_rows()
