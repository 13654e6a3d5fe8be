"""What every fixture script shares: fixed seeds, versions, and writers that keep full precision."""

import json
import math
import os
import random
import shutil
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore")

HERE = Path(__file__).resolve().parent
FIXTURES = HERE / "fixtures"
# Development models and data live beside the repository; a user's clone has none of them.
SHARED = HERE.parent.parent / "shared"
SHARED_NAME = "../shared"  # how fixtures spell it: relative to the repository root



def _versions(names):
    """Versions of those that are installed: mergekit wants an environment of its own, without TRL."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


VERSIONS = _versions(
    ["torch", "transformers", "peft", "trl", "accelerate", "safetensors", "tokenizers", "numpy", "mergekit"]
)


def seed(value=0):
    """One seed for every random stream; called at the start of each case so that cases do not depend on order."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def grid(*shape, scale=1.0, dtype=torch.float64):
    """Normal values rounded to multiples of 2^-10: exact in float32, so float64 and float32 engines read one input."""
    return (torch.randn(*shape, dtype=torch.float64) * scale * 1024).round().div(1024).to(dtype)


def number(x):
    """A JSON number; non-finite values become the strings NaN, Infinity, -Infinity."""
    if isinstance(x, (bool, int, str)) or x is None:
        return x
    x = float(x)
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return x


DTYPES = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int64: "int32",  # token ids and labels; all values fit
    torch.int32: "int32",
    torch.uint8: "int32",
    torch.bool: "bool",
}


def tensor(t):
    """A tensor as {dtype, shape, data}: row-major, each value the exact double of the stored element."""
    t = t.detach().cpu()
    flat = t.reshape(-1)
    if t.dtype == torch.bool:
        data = [int(v) for v in flat.tolist()]
    elif t.dtype.is_floating_point:
        data = [number(v) for v in flat.double().tolist()]
    else:
        data = flat.tolist()
    return {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data": data}


def tensors(**named):
    return {name: tensor(t) for name, t in named.items() if t is not None}


def case(name, inputs=None, attrs=None, outputs=None, grads=None, **more):
    """One case of a row: plain dicts of torch tensors in, JSON out."""
    out = {"name": name}
    for key, named in (("inputs", inputs), ("outputs", outputs), ("grads", grads)):
        if named is not None:
            out[key] = {k: tensor(v) if torch.is_tensor(v) else number(v) for k, v in named.items() if v is not None}
    if attrs is not None:
        out["attrs"] = attrs
    out.update(more)
    return out


def _compact(value, indent=0, width=150):
    """JSON that a person can diff: objects one key a line, but arrays of scalars and short objects on one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    scalars = isinstance(value, list) and all(not isinstance(v, (list, dict)) for v in value)
    if scalars or len(flat) + indent <= width or not value or not isinstance(value, (list, dict)):
        return flat
    if isinstance(value, dict) and set(value) == {"dtype", "shape", "data"}:
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        body = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {_compact(v, indent + 1, width)}" for k, v in value.items()]
        return "{\n" + ",\n".join(body) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + _compact(v, indent + 1, width) for v in value) + "\n" + " " * indent + "]"


def write_json(path, value):
    path = FIXTURES / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_compact(value) + "\n", encoding="utf-8")
    print(f"  {path.relative_to(HERE)}  {path.stat().st_size:,} bytes")


def write_row(row, name, title, tolerance, cases, conventions=None, **more):
    """fixtures/rowNN-name.json; `tolerance` is {abs, rel}, pass when |a-b| <= abs + rel*|b|."""
    value = {"row": row, "case": title, "versions": VERSIONS, "tolerance": tolerance}
    if conventions:
        value["conventions"] = conventions
    value.update(more)
    value["cases"] = cases
    write_json(f"row{row:02d}-{name}.json", value)


def write_tensors(path, named, **notes):
    """A safetensors file, notes and versions as its metadata; int64 is stored as int32."""
    path = FIXTURES / path
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {k: v.detach().contiguous().clone() for k, v in named.items()}
    named = {k: v.to(torch.int32) if v.dtype == torch.int64 else v for k, v in named.items()}
    # one metadata key: safetensors writes several in random order, and a fixture must regenerate byte for byte
    save_file(named, str(path), metadata={"fixture": json.dumps({**notes, "versions": VERSIONS}, sort_keys=True)})
    print(f"  {path.relative_to(HERE)}  {path.stat().st_size:,} bytes")


def open_modes():
    """safetensors writes mode 0600; fixtures are for everybody."""
    for path in FIXTURES.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def fresh_folder(name):
    """An empty fixtures/<name>, so that a regenerated folder has no stale file."""
    path = FIXTURES / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


S = {"abs": 1e-12, "rel": 1e-6}  # scalar formula, host f64 or f32
G = {"abs": 1e-5, "rel": 1e-5}  # GPU f32 kernel
M = {"abs": 1e-4, "rel": 1e-4}  # several layers
E = {"abs": 0, "rel": 0}  # exact
