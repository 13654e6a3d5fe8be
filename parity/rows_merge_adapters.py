"""Rows 106, 107: "model+lora" by run_merge, and extraction, by mergekit; adapters that Attune extracted, by PEFT."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from common import FIXTURES, HERE, VERSIONS, fresh_folder, seed, write_json, write_tensors

MERGED = {
    "linear one": dict(merge_method="linear", models=[("adapters/lora-qv", {"weight": 1.0})]),
    "linear patterns": dict(merge_method="linear", models=[("adapters/patterns", {"weight": 1.0})]),
    "ties": dict(
        merge_method="ties", base_model="tiny-llama",
        models=[("adapters/lora-qv", {"weight": 1.0, "density": 0.5}), ("adapters/rslora-qv", {"weight": 0.5, "density": 0.5}), ("adapters/all-linear", {"weight": 1.0, "density": 0.7})],
    ),
    "task_arithmetic": dict(
        merge_method="task_arithmetic", base_model="tiny-llama",
        models=[("adapters/rslora-qv", {"weight": -0.5}), ("adapters/all-linear", {"weight": 1.0})],
    ),
}
KEPT = ["model.layers.1.self_attn.v_proj.weight"]
TUNED = {  # few tensors: fixtures are small
    "qwen2": r"layers\.1\..*_proj\.weight$", "qwen2-whole": r"layers\.0\.self_attn\.[qv]_proj\.weight$|norm\.weight$",
    "llama-embed": r"layers\.1\.self_attn\.[kv]_proj\.weight$|embed_tokens\.weight$", "gpt2": r"h\.1\.(attn\.c_proj|mlp\.c_fc)\.weight$",
}
LOW = ("llama-embed", "gpt2")


def merged():
    """Row 106."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    out = {}
    for name, given in MERGED.items():
        path = lambda adapter: f"{FIXTURES / 'tiny-llama'}+{FIXTURES / adapter}"
        config = {
            "merge_method": given["merge_method"], "dtype": "float32",
            "models": [{"model": path(adapter), "parameters": parameters} for adapter, parameters in given["models"]],
            **({"base_model": str(FIXTURES / given["base_model"])} if "base_model" in given else {}),
        }
        with tempfile.TemporaryDirectory() as folder:
            options = MergeOptions(lora_merge_cache=folder + "/cache", copy_tokenizer=False, quiet=True)
            run_merge(MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(config))), folder + "/out", options)
            tensors = {}
            for file in Path(folder, "out").glob("*.safetensors"):
                tensors.update(load_file(file))
        out.update({f"{name}/{key}": tensors[key] for key in KEPT})
    write_tensors("row106-adapters-merged/expected.safetensors", out)
    write_json("row106-adapters-merged/cases.json", {
        "row": 106, "case": "model+lora", "versions": VERSIONS, "base": "tiny-llama", "kept": KEPT, "cases": MERGED,
        "conventions": {"expected": "<case>/<tensor> of the merged model, dtype float32", "models": "adapters of tiny-llama: base+adapter, and their parameters"},
    })


def tune(name, folder):
    """A base with noise on some of its weights, as a checkpoint."""
    base = FIXTURES / f"tiny-{name.split('-')[0]}"
    tensors = load_file(base / "model.safetensors")
    seed(107)
    for key in sorted(tensors):
        if re.search(TUNED[name], key):
            shape = tensors[key].shape
            noise = torch.randn(shape) * 0.05
            if name in LOW:  # of rank 3: an adapter of rank 4 holds it all
                noise = torch.randn(shape[0], 3) @ torch.randn(3, shape[1]) * 0.05
            tensors[key] = (tensors[key].float() + noise).to(tensors[key].dtype)
    target = Path(folder, name)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(base / "config.json", target)
    save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    return base, target, tensors


def extracted(folder):
    """Row 107: B A of mergekit."""
    products = {}
    for name, rank, kept in [("qwen2", 2, r"layers\.1"), ("qwen2", 128, r"layers\.1\.mlp\.up_proj"), ("llama-embed", 2, r"layers\.1\.self_attn\.[kv]_proj|embed")]:
        base, target, _ = tune(name, folder)
        out = Path(folder, f"{name}-mergekit-{rank}")
        embed = ["--embed-lora"] if "embed" in name else ["--exclude-regex", "embed|lm_head"]
        command = [sys.executable, "-m", "mergekit.scripts.extract_lora", "--model", target, "--base-model", base, "--out-path", out, "--max-rank", rank, *embed, "--exclude-regex", "norm"]
        subprocess.run([str(part) for part in command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        adapter = load_file(out / "adapter_model.safetensors")
        for key, a in adapter.items():
            if "_A" not in key or not re.search(kept, key):
                continue
            b = adapter[key.replace("_A", "_B")]
            path = key.removeprefix("base_model.model.").split(".lora_")[0]
            product = b @ a
            products[f"{name}.r{rank}/{path}"] = product.T if "embedding" in key else product
    write_tensors("row107-extracted/mergekit.safetensors", products)


def read_by_peft(folder):
    """Row 107: PEFT loads what Attune extracted. Run parity/extracted.ts on FOLDER first; it is called from here."""
    from peft import PeftModel

    subprocess.run(["npx", "tsx", "--conditions", "attune-source", "parity/extracted.ts", folder], check=True, cwd=HERE.parent)
    out, cases = {}, {}
    for adapter in sorted(path for path in (FIXTURES / "row107-extracted").iterdir() if path.is_dir()):
        name = adapter.name.removesuffix("-energy")
        base, _, tuned = tune(name, folder)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
        loaded = PeftModel.from_pretrained(model, adapter).eval()
        ids = torch.tensor([[3, 17, 60, 9, 4, 100]])
        with torch.no_grad():
            out[f"{adapter.name}/logits"] = loaded(input_ids=ids).logits
            full = AutoModelForCausalLM.from_pretrained(Path(folder, name), dtype=torch.float32, attn_implementation="eager")(input_ids=ids).logits
        merged = loaded.merge_and_unload().state_dict()
        rest = {key: (merged[key].float() - value.float()).norm() / value.float().norm() for key, value in tuned.items()}
        cases[adapter.name] = {"tuned": name, "logitsOff": (out[f"{adapter.name}/logits"] - full).abs().max().item(), "mostOff": max(rest.values()).item()}
    write_tensors("row107-extracted/peft.safetensors", {**out, "input_ids": ids})
    write_json("row107-extracted/cases.json", {
        "row": 107, "case": "extracted adapters", "versions": VERSIONS, "cases": cases, "tuned": {k: v for k, v in TUNED.items()},
        "conventions": {
            "folders": "written by parity/extracted.ts", "tuned.<name>.safetensors": "the tensors of the tuned model that changed",
            "mergekit": "<tuned>.r<rank>/<module>: B A, of embeddings (B A)^T", "peft": "<folder>/logits of the base with the adapter",
            "logitsOff, mostOff": "how far PEFT's logits, and its merged weights, are from the tuned model's",
        },
    })


def noises(folder):
    for name in TUNED:
        base, _, tensors = tune(name, folder)
        before = load_file(base / "model.safetensors")
        write_tensors(f"row107-extracted/tuned.{name}.safetensors", {key: value for key, value in tensors.items() if not torch.equal(value, before[key])})


def main():
    try:
        import mergekit  # noqa: F401
    except ImportError:
        print("  skipped: no mergekit")
        return
    merged()
    fresh_folder("row107-extracted")
    with tempfile.TemporaryDirectory() as folder:
        noises(folder)
        extracted(folder)
        read_by_peft(folder)
