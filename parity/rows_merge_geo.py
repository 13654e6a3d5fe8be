"""Rows 94-96, 102, 103: merge methods that work with directions, by mergekit's merge_tensors."""

import torch

from common import VERSIONS, fresh_folder, seed, write_json, write_tensors

try:
    from mergekit.merge_methods import merge_tensors
except ImportError:
    merge_tensors = None

SHAPES = {"1": [1], "13": [13], "7x13": [7, 13], "2x3x5": [2, 3, 5], "64x48": [64, 48]}
FEW = ["13", "7x13", "2x3x5"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def values(shape, scale=1.0):
    """Multiples of 2^-8 of at most 8 bits: exact in bfloat16 and float16, too."""
    return (torch.randn(shape) * scale * 64).round().clamp(-255, 255).div(256)


def tuned(base, scale=0.125):
    """A model near its base."""
    return base + values(base.shape, scale)


def pool(shape):
    """Four tensors of a shape, always the same ones."""
    seed(94 + len(shape))
    return [values(shape) for _ in range(4)]


def planted(kind, shape, count):
    """Lists of tensors with what is hard in them."""
    x = pool(shape)[0]
    zero, one = torch.zeros(shape), torch.ones(shape)
    filler = pool(shape)[1:]
    lists = {
        "zero last": [x, zero],
        "zero first": [zero, x],
        "all zero": [zero, zero, zero],
        "equal": [x, x, x],
        "parallel": [x, 2 * x, 0.5 * x],
        "tiny": [filler[0] * 2**-30, filler[1] * 2**-30, filler[2] * 2**-30],
        "one tiny": [filler[0], filler[1] * 2**-30, filler[2]],
        "opposite": [one, -one, filler[2]],
        "opposite scaled": [one, -2 * one, filler[2]],
    }
    found = lists[kind]
    return (found + filler)[:count]


PLANTED = ["zero last", "zero first", "all zero", "equal", "parallel", "tiny", "one tiny", "opposite", "opposite scaled"]


class Recorder:
    """Cases of JSON, and their tensors beside them: each input once, however many cases read it."""

    def __init__(self):
        self.tensors, self.names, self.cases = {}, {}, []

    def keep(self, t, prefix):
        key = (tuple(t.shape), t.dtype, t.to(torch.float64).numpy().tobytes())
        if key not in self.names:
            self.names[key] = f"{prefix}{len(self.names)}"
            self.tensors[self.names[key]] = t
        return self.names[key]

    def add(self, row, method, grid, dtypes=tuple(DTYPES)):
        """`grid`: (name, tensors, parameters, base index). What mergekit refuses has an error, and no output."""
        for name, tensors, parameters, base in grid:
            large = tensors[0].numel() > 1000
            outputs, errors = {}, {}
            for dtype in dtypes:
                if large and dtype == "float16":
                    continue
                held = [t.to(DTYPES[dtype]) for t in tensors]
                try:
                    merged = merge_tensors(held, method, parameters=parameters, base_index=base, dtype=DTYPES[dtype])
                except ValueError as error:
                    errors[dtype] = str(error).split(".")[0]
                    continue
                if merged.isfinite().all():
                    outputs[dtype] = self.keep(merged, "out")
                else:  # an eps that float16 cannot hold
                    errors[dtype] = "not finite"
            found = {
                "row": row,
                "method": method,
                "name": name,
                "inputs": [self.keep(t.half() if torch.equal(t.half().float(), t) else t, "in") for t in tensors],
                "parameters": parameters,
                "baseIndex": base,
                "outputs": outputs,
            }
            self.cases.append({**found, **({"errors": errors} if errors else {})})


def models(shape, count):
    return pool(shape)[:count]


def near(shape, count):
    """A base in front and `count` models near it."""
    seed(102 + len(shape))
    base = pool(shape)[0]
    return [base] + [tuned(base) for _ in range(count)]


def linear(recorder):
    grid = []
    for label, shape in SHAPES.items():
        grid.append((label, models(shape, 3), {"weight": [0.1, 1, 0.7]}, None))
    x = models([7, 13], 3)
    grid += [
        ("plain sum", x, {"weight": [0.1, 1, -0.3], "normalize": False}, None),
        ("negative", x, {"weight": [1.5, -0.75, 0.3]}, None),
        ("base is an input", x, {"weight": [0.2, 0.3, 0.5]}, 1),
        ("one", x[:1], {"weight": [0.3]}, None),
    ]
    recorder.add(94, "linear", grid)


def slerp(recorder):
    grid = []
    for label, shape in SHAPES.items():
        grid.append((label, models(shape, 2), {"t": 0.3}, 0))
    for label in FEW:
        grid.append((f"base last {label}", models(SHAPES[label], 2), {"t": 0.3}, 1))
    x = models([7, 13], 2)
    for t in [0, 1, -0.5, 1.75]:
        grid.append((f"t {t}", x, {"t": t}, 0))
    grid.append(("example", [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])], {"t": 0.5}, 0))
    for kind in PLANTED:
        grid.append((kind, planted(kind, [7, 13], 2), {"t": 0.4}, 0))
    recorder.add(95, "slerp", grid)


def nuslerp(recorder):
    grid = []
    ways = {
        "flat": {},
        "rows": {"nuslerp_flatten": False},
        "columns": {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    }
    for way, options in ways.items():
        for label, shape in SHAPES.items():
            if label == "64x48" and way == "flat":
                continue
            grid.append((f"{way} {label}", models(shape, 2), {"weight": [0.7, 0.4], **options}, None))
        for base in [0, 1, 2]:
            x = models([7, 13], 3)
            grid.append((f"{way} base {base}", x, {"weight": [0.7, 0.4], **options}, base))
        grid.append((f"{way} weights cancel", models([7, 13], 2), {"weight": [0.5, -0.5], **options}, None))
        grid.append((f"{way} beyond", models([7, 13], 2), {"weight": [-0.5, 2], **options}, None))
        for kind in PLANTED:
            # Whether mergekit sees that two are opposite hangs on the rounding of a sum, but for even weights.
            if way == "flat" and kind == "opposite scaled":
                continue
            weight = [0.5, 0.5] if "opposite" in kind else [0.7, 0.4]
            grid.append((f"{way} {kind}", planted(kind, [7, 13], 2), {"weight": weight, **options}, None))
    recorder.add(96, "nuslerp", grid)


def model_stock(recorder):
    grid = []
    for way, options in {"flat": {}, "filters": {"filter_wise": True}}.items():
        for label, shape in SHAPES.items():
            grid.append((f"{way} {label}", near(shape, 2), options, 0))
        for count in [3, 4]:
            for base in [0, 2]:
                x = near([7, 13], count)
                x.insert(base, x.pop(0))
                grid.append((f"{way} {count} base {base}", x, options, base))
        for kind in PLANTED:
            grid.append((f"{way} {kind}", [torch.zeros(7, 13), *planted(kind, [7, 13], 3)], options, 0))
        x = near([7, 13], 2)
        grid.append((f"{way} opposite two", [x[0], x[1], 2 * x[0] - x[1]], options, 0))
        grid.append((f"{way} unchanged", [x[0], x[0], x[1]], options, 0))
    recorder.add(102, "model_stock", grid)


def multislerp(recorder):
    grid = []
    for label, shape in SHAPES.items():
        grid.append((label, models(shape, 3), {"weight": [0.5, 0.3, 0.4]}, None))
    x = models([7, 13], 4)
    for base in [0, 2]:
        grid.append((f"base {base}", x, {"weight": [0.5, 0.3, 0.4]}, base))
    grid += [
        ("as given", x[:3], {"weight": [0.5, 0.3, 0.4], "normalize_weights": False}, None),
        ("negative", x[:3], {"weight": [0.9, -0.3, 0.4]}, None),
        ("two", x[:2], {"weight": [0.2, 0.9]}, None),
        ("eps", x[:2], {"weight": [0.2, 0.9], "eps": 0.5}, None),
        ("one", x[:1], {"weight": [0.2]}, None),
        ("one with base", x[:2], {"weight": [0.2]}, 0),
        ("two opposite", [x[0], -x[0]], {"weight": [0.5, 0.5]}, None),
        ("two opposite uneven", [x[0], -x[0]], {"weight": [0.5, 0.75]}, None),
    ]
    for kind in PLANTED:
        grid.append((kind, planted(kind, [7, 13], 3), {"weight": [0.5, 0.3, 0.4]}, None))
    recorder.add(103, "multislerp", grid)


def karcher(recorder):
    grid = []
    for label, shape in SHAPES.items():
        grid.append((label, models(shape, 3), {}, None))
    x = models([7, 13], 4)
    grid += [
        ("four", x, {}, None),
        ("base is an input", x[:3], {}, 1),
        ("near", near([7, 13], 2), {}, None),
        ("one step", x[:3], {"max_iter": 1}, None),
        ("no step", x[:3], {"max_iter": 0}, None),
        ("coarse", x[:3], {"tol": 0.3}, None),
        ("one", x[:1], {}, None),
        ("two", x[:2], {}, None),
    ]
    for kind in PLANTED:
        grid.append((kind, planted(kind, [7, 13], 3), {}, None))
    recorder.add(103, "karcher", grid)


def nearswap(recorder):
    grid = []
    for label, shape in SHAPES.items():
        grid.append((label, models(shape, 2), {"t": 0.2}, 0))
    x = models([7, 13], 2)
    grid.append(("base last", x, {"t": 0.2}, 1))
    for t in [0, -0.5, 1e-4, 100]:
        grid.append((f"t {t}", x, {"t": t}, 0))
    for kind in PLANTED:
        grid.append((kind, planted(kind, [7, 13], 2), {"t": 0.2}, 0))
    recorder.add(103, "nearswap", grid)


def passthrough(recorder):
    x = values([7, 13])
    grid = [(label, [values(shape)], {"scale": 0.3}, None) for label, shape in SHAPES.items()]
    grid += [("as it is", [x], {}, None), ("zero", [x], {"scale": 0}, None), ("negative", [x], {"scale": -1.7}, None)]
    recorder.add(103, "passthrough", grid)


def arcee_fusion(recorder):
    grid = [(label, near(shape, 1), {}, 0) for label, shape in SHAPES.items()]
    grid += [(f"base last {label}", near(SHAPES[label], 1)[::-1], {}, 1) for label in FEW]
    x = near([7, 13], 1)
    grid.append(("unchanged", [x[0], x[0]], {}, 0))
    few = x[0].clone()
    few[2, 3] += 1
    few[5, 1] -= 2
    grid.append(("few changes", [x[0], few], {}, 0))
    recorder.add(103, "arcee_fusion", grid)


def main():
    if merge_tensors is None:
        print("  mergekit is not installed: skipped, the committed files stay")
        return
    recorder = Recorder()
    for part in [linear, slerp, nuslerp, model_stock, multislerp, karcher, nearswap, passthrough, arcee_fusion]:
        part(recorder)
    fresh_folder("merge-geo")
    write_json("merge-geo/cases.json", {
        "case": "merge methods that work with directions",
        "versions": VERSIONS,
        "conventions": {
            "inputs": "tensors of tensors.safetensors; rounded to the dtype of an output before they are merged",
            "parameters": "snake_case; a list has one value for each input, or each but the base",
            "outputs": "merge_tensors(..., dtype=) by dtype",
        },
        "cases": recorder.cases,
    })
    write_tensors("merge-geo/tensors.safetensors", recorder.tensors)
