"""Row 232: frequencies that transformers reads from every way in which a config.json may name rotary embeddings."""

import copy
import importlib
import json
import random
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig

from common import FIXTURES, VERSIONS

CASES = 240
# head_dim 8: four frequencies. 128 positions; a text of 200 tokens is beyond them.
SIZES = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=16, num_hidden_layers=2, vocab_size=16, max_position_embeddings=128)
FAMILIES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "smollm3": "SmolLM3", "gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3", "phi3": "Phi3"}
MISSING = 0.06


def some(rng, keys, missing=MISSING):
    return {key: value for key, value in keys.items() if rng.random() >= missing}


def scaling(rng, family, kind=None):
    kinds = ["default", "longrope", "su", "yarn", "linear"] if family == "phi3" else ["default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional", "unheard-of"]
    weights = [3, 6, 2, 2, 1] if family == "phi3" else [3, 4, 3, 4, 3, 3, 2, 0.3]
    kind = kind or rng.choices(kinds, weights)[0]
    found = {"type" if rng.random() < 0.35 else "rope_type": kind}
    if rng.random() < 0.06:
        found = {"rope_type": kind, "type": rng.choice(kinds)}
    if rng.random() < 0.03:
        found = {}
    if kind in ("linear", "dynamic", "yarn", "llama3") and family != "phi3":
        found |= some(rng, {"factor": rng.choice([2, 4.0, 1.5, 8.0])})
    if kind == "proportional" and rng.random() < 0.5:
        found["factor"] = 2.0
    if kind == "proportional":
        found |= {"partial_rotary_factor": rng.choice([0.25, 0.5, 1.0])} if rng.random() < 0.8 else {}
    if kind == "llama3":
        found |= some(rng, {"low_freq_factor": rng.choice([1, 1.0]), "high_freq_factor": rng.choice([4, 4.0])}, 0.02)
    if kind == "yarn" and family != "phi3":
        for key, values in {"attention_factor": [1.25, 1.0], "beta_fast": [16, 32.0], "beta_slow": [2, 1.0], "truncate": [False, True], "mscale": [1.0, 0.7], "mscale_all_dim": [1.0, 0.5]}.items():
            if rng.random() < 0.3:
                found[key] = rng.choice(values)
    if kind in ("longrope", "su") or (kind == "yarn" and family == "phi3"):
        n = rng.choice([4, 4, 4, 3])
        found |= {"short_factor": [1.0 + i / 4 for i in range(n)], "long_factor": [1.0 + 2 * i for i in range(n)]}
        if rng.random() < 0.3:
            found["factor"] = rng.choice([4.0, 16])
        if rng.random() < 0.2:
            found["attention_factor"] = 1.5
    if kind in ("yarn", "llama3", "longrope", "su") and rng.random() < 0.6:
        found["original_max_position_embeddings"] = rng.choice([32, 64])
    return found


def with_theta(rng, found, chance=0.5):
    return found | ({"rope_theta": rng.choice([500000.0, 777.0, 10000])} if rng.random() < chance else {})


def generate(rng):
    family = rng.choices(list(FAMILIES), [4, 1, 2, 1, 2, 1, 1, 4, 3])[0]
    keys = {}
    places = rng.choices(["parameters", "scaling", "both", "none", "empty"], [4, 4, 7, 1, 1])[0]
    if family == "gemma3_text":
        nested = lambda: some(rng, {"full_attention": with_theta(rng, scaling(rng, family)), "sliding_attention": with_theta(rng, scaling(rng, family, "default"))}, 0.1)
        if places in ("parameters", "both"):
            keys["rope_parameters"] = nested() if rng.random() < 0.85 else with_theta(rng, scaling(rng, family))
        if rng.random() < 0.3:
            keys["rope_local_base_freq"] = rng.choice([10000.0, 321.0])
        keys["layer_types"] = rng.choice([["sliding_attention", "full_attention"], ["full_attention", "full_attention"], ["sliding_attention", "full_attention"]])
    elif places in ("parameters", "both"):
        # As transformers 5 writes it: of the default type, with theta.
        keys["rope_parameters"] = {"rope_type": "default", "rope_theta": rng.choice([500000.0, 10000.0])} if rng.random() < 0.4 else with_theta(rng, scaling(rng, family), 0.7)
    if places in ("scaling", "both"):
        keys["rope_scaling"] = with_theta(rng, scaling(rng, family), 0.15)
    if places == "empty":
        keys[rng.choice(["rope_scaling", "rope_parameters"])] = rng.choice([{}, None])
    if rng.random() < 0.4:
        keys["rope_theta"] = rng.choice([333.0, 1000000, 10000.0])
    if rng.random() < 0.12:
        keys["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    if rng.random() < (0.6 if family == "phi3" else 0.12):
        keys["original_max_position_embeddings"] = rng.choice([32, 64])
    return family, keys


def frequencies(family, keys):
    """By kind of layer: inverse frequencies of a short and of a long text, and the factor of cos and sin."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps({"model_type": family, **SIZES, **keys}))
        config = AutoConfig.from_pretrained(folder)
    stem = FAMILIES[family]
    module = importlib.import_module(f"transformers.models.{family.removesuffix('_text')}.modeling_{family.removesuffix('_text')}")
    rotary = getattr(module, f"{stem}RotaryEmbedding")(config)
    kinds = sorted(set(config.layer_types)) if family == "gemma3_text" else [None]
    found = {}
    for kind in kinds:
        args = () if kind is None else (kind,)
        prefix = "" if kind is None else f"{kind}_"
        at = lambda length: rotary(torch.zeros(1), torch.arange(length)[None], *args)
        one = {}
        for name, length in (("short", 4), ("long", 200)):
            cos, sin = at(length)
            if cos.shape[-1] != SIZES["head_dim"] and family != "phi3":
                raise ValueError(f"the rotary embeddings are {cos.shape[-1]} wide, heads {SIZES['head_dim']}")
            one[name] = [round_trip(f) for f in getattr(rotary, f"{prefix}inv_freq").tolist()]
        one["factor"] = getattr(rotary, f"{prefix}attention_scaling")
        found[kind or "all"] = one
    return found


def round_trip(value):
    """The shortest decimal that is the same float32."""
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if torch.tensor(short, dtype=torch.float32).item() == value:
            return short
    return value


def main():
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    rng = random.Random(9)
    lines, refused = [], 0
    for _ in range(CASES):
        family, keys = generate(rng)
        try:
            found = {"found": frequencies(family, copy.deepcopy(keys))}
        except Exception as error:
            found = {"refused": type(error).__name__}
            refused += 1
        lines.append(json.dumps({"family": family, "keys": keys, **found}, separators=(",", ":")))
    head = json.dumps({"row": 232, "case": "rope-configs", "versions": VERSIONS, "sizes": SIZES})
    body = ",\n".join(lines)
    (FIXTURES / "row232-rope-configs.json").write_text(f'{head[:-1]}, "cases": [\n{body}\n]}}\n')
    print(f"rope configs: {CASES}, of which {refused} are refused")
