"""Mixed precision: what rounding the operands of products does to a loss and its gradients; the loss scale's path."""

import torch

from common import S, case, seed, write_row
from tiny import load


def autocast():
    cases = []
    seed(31)
    ids = torch.randint(0, 256, (2, 24))
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        model = load()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            loss = model(ids, labels=ids).loss
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        cases.append(case(name, inputs={"inputIds": ids}, outputs={"loss": loss.float(), "gradNorm": norm}))
    write_row(201, "mixed-precision", "tiny-llama under torch.autocast", {"abs": 0, "rel": 0.02}, cases,
              {"why so wide": "torch rounds outputs, attention and more to 16 bits; ours rounds the operands of products alone"})


def scaler():
    cases = []
    for name, kw, finite in (
        ("default-factors", dict(init_scale=1024.0, growth_interval=3), [1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]),
        ("other-factors", dict(init_scale=16.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2), [0, 1, 1, 1, 1, 0, 1]),
    ):
        p = torch.nn.Parameter(torch.ones(2))
        opt = torch.optim.SGD([p], lr=0.0)
        scaler = torch.amp.GradScaler("cpu", **kw)
        scales, trackers = [], []
        for ok in finite:
            opt.zero_grad()
            scaler.scale(p.sum()).backward()
            if not ok:
                p.grad[0] = float("inf")
            scaler.step(opt)
            scaler.update()
            scales.append(scaler.get_scale())
            trackers.append(scaler.state_dict()["_growth_tracker"])
        cases.append(case(name, attrs=kw, inputs={"finite": torch.tensor(finite)}, outputs={"scale": torch.tensor(scales), "tracker": torch.tensor(trackers)}))
    write_row(202, "loss-scale", "torch.amp.GradScaler", S, cases)


def main():
    autocast()
    scaler()
