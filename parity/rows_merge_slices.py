"""Rows 104, 105, 110: what mergekit plans: names of the output, the input of each tensor, parameters, config.json."""

import json
import logging
import tempfile
from pathlib import Path

import torch
import yaml

from common import VERSIONS, seed, write_json
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

try:
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import _model_out_config
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
except ImportError:
    MergePlanner = None

logging.disable(logging.WARNING)

SIZES = dict(hidden_size=16, intermediate_size=21, num_attention_heads=4, num_key_value_heads=2, vocab_size=13)


def llama(layers, tied=False, dtype="float32"):
    return LlamaForCausalLM(
        LlamaConfig(**SIZES, num_hidden_layers=layers, tie_word_embeddings=tied, max_position_embeddings=32)
    ).to(getattr(torch, dtype))


def qwen2(layers, tied=True):
    return Qwen2ForCausalLM(
        Qwen2Config(**SIZES, num_hidden_layers=layers, tie_word_embeddings=tied, max_position_embeddings=32)
    )


def gpt2(layers):
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=layers, n_head=2, n_positions=32, vocab_size=13))


MODELS = {
    "a": lambda: llama(3),
    "b": lambda: llama(3),
    "c": lambda: llama(3),
    "four": lambda: llama(4),
    "one": lambda: llama(1),
    "tied": lambda: llama(3, tied=True),
    "q1": lambda: qwen2(2),
    "q2": lambda: qwen2(2),
    "g1": lambda: gpt2(2),
    "g2": lambda: gpt2(3),
}

CASES = {
    "models": """
merge_method: linear
models:
- {model: a, parameters: {weight: 0.25}}
- {model: b, parameters: {weight: [0, 1, 0.5]}}
""",
    "base not listed, filters and gradients in every scope": """
merge_method: ties
base_model: a
models:
- model: b
  parameters:
    weight: [{filter: self_attn, value: [0.1, 0.9]}, {filter: mlp, value: 0.25}]
    density: [1, 0.5, 0.25]
- model: c
  parameters:
    density: {filter: layers.1, value: 0.75}
parameters:
  weight: [{filter: lm_head, value: 0.125}, {value: [0.5, 1]}]
  density: 0.875
  normalize: [{filter: norm, value: false}, {filter: "*", value: true}]
""",
    "slices of one model": """
merge_method: passthrough
slices:
- sources: [{model: a, layer_range: [0, 2]}]
- sources: [{model: four, layer_range: [1, 4], parameters: {scale: [{filter: o_proj, value: 0}, {filter: down_proj, value: [0.5, 1]}, {value: 1}]}}]
- sources: [{model: b, layer_range: [2, 3]}]
""",
    "slices of several models": """
merge_method: slerp
base_model: a
slices:
- sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [1, 3]}]
  parameters: {t: [{filter: self_attn, value: [0, 0.5, 1]}, {filter: mlp, value: [1, 0.25]}, {value: 0.75}]}
- sources: [{model: four, layer_range: [3, 4]}, {model: a, layer_range: [0, 1]}]
parameters: {t: [0.125, 0.375]}
""",
    "a base for a slice": """
merge_method: task_arithmetic
base_model: a
slices:
- sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]
- base_model: c
  sources: [{model: b, layer_range: [1, 3], parameters: {weight: [0.5, 1]}}, {model: c, layer_range: [1, 3]}]
parameters: {weight: 0.25, lambda: [0.5, 1.5]}
""",
    "modules": """
merge_method: linear
modules:
  default:
    slices:
    - sources: [{model: a, layer_range: [0, 3], parameters: {weight: [1, 2, 3]}}, {model: c, layer_range: [0, 3]}]
    parameters: {weight: [{filter: layers.2, value: 4}]}
parameters: {weight: 5}
""",
    "a model of one layer": """
merge_method: slerp
base_model: one
models: [{model: one}, {model: one2}]
parameters: {t: [0.25, 0.75]}
""",
    "one ties its head": """
merge_method: linear
models: [{model: tied}, {model: a}]
parameters: {weight: [{filter: lm_head, value: 2}, {value: 1}]}
dtype: bfloat16
""",
    "both tie, with biases": """
merge_method: linear
models: [{model: q1}, {model: q2}]
parameters: {weight: [{filter: bias, value: 2}, {value: 1}]}
out_dtype: float16
""",
    "GPT-2": """
merge_method: linear
slices:
- sources: [{model: g1, layer_range: [0, 2]}, {model: g2, layer_range: [0, 2]}]
- sources: [{model: g1, layer_range: [1, 2]}, {model: g2, layer_range: [2, 3]}]
parameters: {weight: [{filter: attn, value: [0.5, 1]}, {value: 2}]}
dtype: bfloat16
""",
}
MODELS["one2"] = MODELS["one"]


def plain(value):
    return {k: plain(v) for k, v in value.items()} if hasattr(value, "items") else value


def planned(folder, text):
    """A config as mergekit plans it: names instead of folders."""
    named = MergeConfiguration.model_validate(yaml.safe_load(at_folder(text, folder)))
    options = MergeOptions(quiet=True)
    arch = get_architecture_info(named, options)
    LoaderCache().setup(options=options)
    out = _model_out_config(named, arch)
    planner = MergePlanner(named, arch, options=options, out_model_config=out)
    planner._plan()
    index = {name: LoaderCache().get(model).index.tensor_paths for name, model in models_of(named).items()}
    tensors = []
    for weight, task in planner._tensors:
        infos = task.gather_tensors.weight_info
        inputs = []
        for model in task.model_order:
            name, info = Path(model.model.path).name, infos[model]
            spellings = [info.name, *(info.aliases or []), *(info.tied_names or [])]
            stored = next(s for s in spellings if s in index[name])
            own = plain(task.input_parameters.get(model) or {})
            inputs.append({"model": name, "stored": stored, "parameters": own})
        base = Path(task.base_model.model.path).name if task.base_model else None
        tensors.append({"name": weight.name, "base": base, "parameters": plain(task.parameters), "inputs": inputs})
    config = {key: out.to_dict()[key] for key in ("num_hidden_layers", "n_layer", "vocab_size") if key in out.to_dict()}
    config["dtype"] = str(out.dtype).replace("torch.", "")
    return {"tensors": tensors, "config": config}


def at_folder(text, folder):
    """Models by their folders; a list or mapping has no other word that is a model's name."""
    config = yaml.safe_load(text)

    def walk(value):
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: str(folder / item) if key in ("model", "base_model") else walk(item) for key, item in value.items()
        }

    return yaml.safe_dump(walk(config))


def models_of(config):
    return {Path(model.model.path).name: model for model in config.referenced_models()}


def main():
    if MergePlanner is None:
        print("  mergekit is not installed: skipped, the committed files stay")
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        described = {}
        for name, make in MODELS.items():
            seed(len(described))
            model = make()
            model.save_pretrained(folder / name)
            shapes = {key: list(value.shape) for key, value in saved(folder / name)}
            config = json.loads((folder / name / "config.json").read_text())
            described[name] = {"config": config, "shapes": shapes}
        cases = [{"name": name, "yaml": text.strip() + "\n", **planned(folder, text)} for name, text in CASES.items()]
    write_json("row105-merge-plans.json", {"versions": VERSIONS, "models": described, "cases": cases})


def saved(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        for key in file.keys():
            yield key, file.get_tensor(key)
