"""Rows 97-101, 103: merge methods on task vectors, by mergekit: task arithmetic, TIES, DARE, DELLA, breadcrumbs, SCE, RAM."""

import itertools
import random

import torch

from common import VERSIONS, fresh_folder, seed, write_json, write_tensors

FOLDER = "merge-task-vectors"
SHAPES = {"one": [1], "vector": [13], "matrix": [7, 13], "cube": [2, 3, 5], "large": [64, 48]}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRIMMED = {"ties", "breadcrumbs", "breadcrumbs_ties"}
RANKED = {"della", "della_linear"}
DRAWN = RANKED | {"dare_linear", "dare_ties"}
GTA = TRIMMED | DRAWN | {"task_arithmetic"}


def inputs():
    """Of each shape five tensors: a base, one with planted zeros in its difference, an independent one, and from the
    first a parallel and an antiparallel one. Uniform numbers for four masks, exact in float16."""
    tensors = {}
    for name, shape in SHAPES.items():
        seed(97)
        base = torch.randn(shape)
        one = torch.randn(shape) * 0.3
        one[torch.rand(shape) < 0.15] = 0
        other = torch.randn(shape) * 0.2
        for key, delta in {"base": None, "zeros": one, "other": other, "parallel": one * 1.5, "antiparallel": -one}.items():
            tensors[f"{name}.{key}"] = base if delta is None else base + delta
        for k in range(4):
            tensors[f"{name}.uniform{k}"] = (torch.rand(shape) * 1024).floor().div(1024).half()
    return tensors


def tied(tensors, base, method, parameters):
    """Whether two different elements at a cut, or in a row that is ranked, have one magnitude: then torch takes any."""
    deltas = [t - tensors[base] for k, t in enumerate(tensors) if k != base]
    if method == "sce":
        keep = parameters.get("select_topk", 1)
        variances = torch.stack(deltas).var(dim=0, unbiased=False).flatten().float().sort(descending=True).values
        k = int((variances != 0).sum() * keep)
        return 0 < k < len(variances) and variances[k - 1] == variances[k] and variances[k] != 0
    for delta, density, k in zip(deltas, parameters.get("density", [1] * len(deltas)), itertools.count()):
        if not 0 < density < 1:
            continue
        sizes = delta.abs().flatten().float().sort().values
        n = len(sizes)
        if method == "ties":
            cuts = [n - max(1, int(density * n))]
        elif method in TRIMMED:
            low = max(0, n - int(density * n) - int(parameters["gamma"][k] * n))
            cuts = [low, low + int(density * n)]
        else:
            cuts = []
        if any(0 < c < n and sizes[c - 1] == sizes[c] and sizes[c] != 0 for c in cuts):
            return True
        if method in RANKED:
            rows = delta.abs().float() if delta.dim() > 1 else delta.abs().float()[None]
            rows = rows.sort(dim=1).values
            if ((rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != 0)).any():
                return True
    return False


def parameters_of(method, count, pick):
    each = lambda values: [pick.choice(values) for _ in range(count)]
    if method == "ram":
        return {"epsilon": pick.choice([1e-5, 0.1, 0.3])}
    if method == "ramplus_tl":
        return {"epsilon": pick.choice([1e-5, 0.1]), "r": pick.choice([0.1, 0.5]), "alpha": pick.choice([0.2, 2.0])}
    if method == "sce":
        return {"select_topk": pick.choice([0.0, 0.3, 0.5, 1.0]), "int8_mask": pick.choice([True, False])}
    out = {"weight": each([1.0, 0.6, 0.3, -0.5, 1.7]), "density": each([0.0, 0.001, 0.2, 0.5, 0.5, 0.8, 1.0])}
    if method in RANKED:
        out["density"] = each([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])
        out["epsilon"] = each([0.05, 0.15])
    if "breadcrumbs" in method:
        out["gamma"] = each([0.0, 0.01, 0.1, 0.4])
    out["lambda"] = pick.choice([1.0, 1.0, 0.7, -1.3])
    for name in ("normalize", "rescale", "int8_mask"):
        if pick.random() < 0.7:
            out[name] = pick.random() < 0.5
    if out.get("normalize") and abs(sum(out["weight"])) < 0.05:
        out["weight"][0] += 1.0  # ours refuses weights that add up to nothing
    return out


def merged(method, tensors, base, parameters, uniforms):
    """mergekit's result, with masks from given numbers."""
    from mergekit.merge_methods import merge_tensors

    density = parameters.get("density", [])
    drawn = iter([u for u, d in zip(uniforms, density) if d < 1 and (method not in RANKED or d > 0)])
    bernoulli = torch.bernoulli
    torch.bernoulli = lambda p: (next(drawn).float().reshape(p.shape) < p.float()).to(p.dtype)
    try:
        return merge_tensors(tensors, method, parameters=parameters, base_index=base)
    finally:
        torch.bernoulli = bernoulli


def main():
    try:
        import mergekit  # noqa: F401
    except ImportError:
        print("  skipped: no mergekit")
        return
    fresh_folder(FOLDER)
    given = inputs()
    cases, outputs = [], {}
    methods = sorted(GTA | {"sce", "ram", "ramplus_tl"})
    for method, dtype in itertools.product(methods, DTYPES):
        pick = random.Random(f"{method} {dtype}")
        shapes = ["matrix", "one", "vector", "matrix", "cube", "matrix", "vector", "matrix", "cube"]
        if dtype == "float32" and method in {"ties", "dare_ties", "della", "breadcrumbs", "sce"}:
            shapes.append("large")
        for shape in shapes:
            if shape == "one" and method in RANKED:
                continue  # mergekit divides 0 by 0
            for _ in range(200):
                count = 3 if shape == "large" else pick.randint(1, 4)
                names = pick.sample(["zeros", "other", "parallel", "antiparallel"], count)
                if count > 1 and pick.random() < 0.3:
                    names[-1] = names[0]  # equal models
                base = pick.randint(0, count)
                names.insert(base, "base")
                parameters = parameters_of(method, count, pick)
                tensors = [given[f"{shape}.{name}"].to(DTYPES[dtype]) for name in names]
                if not tied(tensors, base, method, parameters):
                    break
            else:
                raise AssertionError(f"only ties at the cut: {method} {dtype} {shape}")
            out = merged(method, tensors, base, parameters, [given[f"{shape}.uniform{k}"] for k in range(count)])
            key = f"case{len(cases)}"
            outputs[key] = out
            cases.append({"method": method, "dtype": dtype, "shape": shape, "inputs": names, "base": base, "parameters": parameters})
    write_json(f"{FOLDER}/cases.json", {"row": "97-101, 103", "versions": VERSIONS, "cases": cases})
    write_tensors(f"{FOLDER}/inputs.safetensors", given)
    write_tensors(f"{FOLDER}/expected.safetensors", outputs)
