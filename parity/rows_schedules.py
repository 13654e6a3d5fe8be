"""Rows 24, 25: restarts, lowest rates, polynomial, inverse root, warmup-stable-decay; schedules that follow a metric."""

import torch
from transformers import optimization as hf

from common import case, seed, write_row

NAMES = {"num_warmup_steps": "warmupSteps", "num_training_steps": "totalSteps", "num_cycles": "numCycles", "min_lr": "minLr", "min_lr_rate": "minLrRate",
         "warmup_lr_rate": "warmupLrRate", "power": "power", "lr_end": "lrEnd", "timescale": "timescale", "num_decay_steps": "numDecaySteps",
         "num_stable_steps": "numStableSteps", "warmup_type": "warmupType", "decay_type": "decayType", "min_lr_ratio": "minLrRatio",
         "mode": "mode", "factor": "factor", "patience": "patience", "threshold": "threshold", "threshold_mode": "thresholdMode", "cooldown": "cooldown",
         "eps": "eps", "warmup": "warmup", "max_lr": "maxLr", "smooth": "smooth", "window_size": "windowSize", "reset_start": "resetStart"}
ours = lambda kw: {NAMES[k]: v for k, v in kw.items()}


def optimizer(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def table(schedule, name, make, total, lr=0.01, **kw):
    """Factors at each update of a short run, or at chosen ones of a long run, and beyond its end."""
    steps = list(range(total + 4)) if total <= 40 else sorted({0, 1, 2, 5, 9, 10, 11, 37, 50, 55, 64, 77, 99, 100, 101, total - 1, total, total + 1, total + 9})
    # transformers takes the length of the run as num_training_steps, inverse_sqrt alone does not
    given = kw if make is hf.get_inverse_sqrt_schedule else {"num_training_steps": total, **kw}
    f = make(optimizer(lr), **given).lr_lambdas[0]
    attrs = {"schedule": schedule, "learningRate": lr, "totalSteps": total, "warmupSteps": 0, **ours(kw)}
    return case(f"{schedule}/{name}", attrs=attrs, outputs={"steps": torch.tensor(steps), "factors": torch.tensor([float(f(s)) for s in steps], dtype=torch.float64)})


def metric(schedule, name, make, metrics, lr=0.01, **kw):
    """The rate after each evaluation."""
    opt = optimizer(lr)
    scheduler = make(opt, **kw)
    rates = []
    for value in metrics:
        scheduler.step(value)
        rates.append(opt.param_groups[0]["lr"])
    return case(f"{schedule}/{name}", inputs={"metrics": torch.tensor(metrics, dtype=torch.float64)}, attrs={"schedule": schedule, "learningRate": lr, **ours(kw)},
                outputs={"rates": torch.tensor(rates, dtype=torch.float64)})


def main():
    restarts = hf.get_cosine_with_hard_restarts_schedule_with_warmup
    write_row(24, "schedules-restarts", "cosine with hard restarts", {"abs": 1e-15, "rel": 1e-12},
              [table("cosine_with_restarts", f"w{w}-n{n}-c{c}", restarts, n, num_warmup_steps=w, **({"num_cycles": c} if c else {}))
               for w, n, c in [(10, 110, None), (10, 110, 1), (10, 110, 3), (0, 30, 3), (3, 30, 2), (5, 5, 2), (0, 1, 1), (0, 12, 5)]],
              {"after the end": "steps beyond totalSteps are in the table too"})

    cases = []
    for w, n, kw in [(10, 110, {"min_lr": 0.002}), (3, 30, {"min_lr_rate": 0.1}), (0, 30, {"min_lr_rate": 0.25, "num_cycles": 1.5})]:
        cases.append(table("cosine_with_min_lr", f"{len(cases)}", hf.get_cosine_with_min_lr_schedule_with_warmup, n, num_warmup_steps=w, **kw))
    for w, n, kw in [(10, 110, {"min_lr": 0.002}), (3, 30, {"min_lr_rate": 0.1}), (4, 30, {"min_lr_rate": 0.1, "warmup_lr_rate": 0.3}), (1, 9, {"min_lr_rate": 0.0, "warmup_lr_rate": 0.5}), (0, 12, {"min_lr_rate": 0.5})]:
        cases.append(table("cosine_warmup_with_min_lr", f"{len(cases)}", hf.get_cosine_with_min_lr_schedule_with_warmup_lr_rate, n, num_warmup_steps=w, **kw))
    for w, n, kw in [(10, 110, {}), (3, 30, {"power": 2.0, "lr_end": 0.001}), (0, 12, {"power": 0.5, "lr_end": 0.0})]:
        cases.append(table("polynomial", f"{len(cases)}", hf.get_polynomial_decay_schedule_with_warmup, n, num_warmup_steps=w, **kw))
    for w, kw in [(10, {}), (0, {}), (5, {"timescale": 40})]:
        cases.append(table("inverse_sqrt", f"{len(cases)}", hf.get_inverse_sqrt_schedule, 110, num_warmup_steps=w, **kw))
    for w, n, kw in [(10, 110, {"num_decay_steps": 20}), (3, 30, {"num_decay_steps": 9, "warmup_type": "cosine", "decay_type": "linear", "min_lr_ratio": 0.1}),
                     (6, 30, {"num_decay_steps": 10, "num_stable_steps": 8, "warmup_type": "1-sqrt", "decay_type": "1-sqrt"}),
                     (0, 12, {"num_decay_steps": 12, "num_cycles": 1.5}), (2, 12, {"num_decay_steps": 10, "min_lr_ratio": 0.2, "decay_type": "1-sqrt"})]:
        cases.append(table("warmup_stable_decay", f"{len(cases)}", hf.get_wsd_schedule, n, num_warmup_steps=w, **kw))
    write_row(25, "schedules-other", "lowest rates, polynomial, inverse root, warmup-stable-decay", {"abs": 1e-15, "rel": 1e-12}, cases)

    seed(25)
    falling = [3 * 0.9**i for i in range(6)]
    noisy = (torch.rand(40, dtype=torch.float64) + 1).tolist()
    stuck = [1.0] * 12
    plateau = lambda name, metrics, **kw: metric("reduce_lr_on_plateau", name, hf.get_reduce_on_plateau_schedule, metrics, **kw)
    greedy = lambda name, metrics, **kw: metric("greedy", name, hf.get_greedy_schedule, metrics, **kw)
    cases = [
        plateau("defaults", falling + stuck + stuck), plateau("patience-0", [1, 0.9, 0.95, 0.94, 0.8, 0.8], patience=0, factor=0.5),
        plateau("cooldown", stuck, patience=1, cooldown=2, factor=0.5), plateau("max", [0.1, 0.5, 0.5, 0.4, 0.6, 0.60001, 0.6], mode="max", patience=1, factor=0.3),
        plateau("abs", noisy, threshold=0.1, threshold_mode="abs", patience=2, factor=0.7), plateau("floor", stuck, patience=0, factor=0.1, min_lr=0.0005),
        plateau("max-abs", noisy, mode="max", threshold=0.05, threshold_mode="abs", patience=1, factor=0.7), plateau("nan", [1, float("nan"), float("nan"), 0.5], patience=1, factor=0.5),
        greedy("falling", [3 * 0.97**i for i in range(30)], patience=2, factor=0.8, lr=0.01), greedy("noisy", noisy, patience=1, factor=0.9, warmup=2, cooldown=1),
        greedy("smooth", noisy, patience=0, factor=0.8, smooth=True, window_size=4, max_lr=0.05), greedy("reset", stuck + falling + stuck, patience=0, factor=0.3, reset_start=2, min_lr=0.002),
        greedy("below-the-floor", stuck, patience=0, lr=5e-5), greedy("max-rel", noisy, mode="max", threshold=0.01, threshold_mode="rel", patience=0, factor=0.9),
    ]
    write_row(25, "schedules-metric", "rates that follow a metric: ReduceLROnPlateau, GreedyLR", {"abs": 0, "rel": 1e-12}, cases,
              {"rates": "the rate after each evaluation"})
