"""Row 104: what mergekit makes of configs. The right ones are merged with tiny models, and every parameter that its planner
resolves is written; of the wrong ones, whether it stops or passes."""

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

import torch

from common import HERE, seed, write_json, VERSIONS

TEXTS = HERE.parent / "packages/merge/test/config"
SHOWN = re.compile(r"(self_attn\.q_proj|mlp\.down_proj|embed_tokens|lm_head)\.weight$")


def texts(name):
    """The configs of a file: a heading `=== ...`, then the YAML."""
    parts = re.split(r"^=== (.*)\n", (TEXTS / name).read_text(encoding="utf-8"), flags=re.M)
    return list(zip(parts[1::2], parts[2::2]))


def write_models(folder):
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=4, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False)
    words = {f"w{i}": i for i in range(16)}
    for index, name in enumerate(["base", "a", "b", "c"]):
        seed(index)
        LlamaForCausalLM(config).save_pretrained(folder / name)
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0"))).save_pretrained(folder / name)


@contextlib.contextmanager
def recorded(rows):
    """Records what the planner asks of `resolve_parameters`, and what it gets."""
    from mergekit import plan

    original = plan.resolve_parameters

    def resolve(spec, *, tensor_name, inputs, sources, base_model=None, t=0):
        shared, per_input = original(spec, tensor_name=tensor_name, inputs=inputs, sources=sources, base_model=base_model, t=t)
        if SHOWN.search(tensor_name):
            reader = sources.__self__
            module = reader.module
            index = next(i for i, s in enumerate(module.slices) if s is reader.slice_out)
            rows.append({"slice": index, "t": t, "tensor": tensor_name,
                         # [model, name]; the model alone where its tensor has the same name
                         "inputs": [str(m) if name == tensor_name else [str(m), name] for m, name in inputs.items()],
                         "base": None if base_model is None else str(base_model), "shared": shared,
                         "perInput": [values for values in per_input.values()]})
        return shared, per_input

    plan.resolve_parameters = resolve
    try:
        yield
    finally:
        plan.resolve_parameters = original


def merge(text, out):
    """As mergekit-yaml does."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    if out is not None:
        run_merge(config, out, options=MergeOptions(quiet=True, random_seed=0, write_model_card=False))
    return config


def outcome(text, out):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            merge(text, out)
    except BaseException as error:
        return type(error).__name__
    return "passes"


def methods():
    from mergekit.merge_methods.base import MISSING, ParameterScope
    from mergekit.merge_methods.registry import registered_methods

    scopes = {ParameterScope.SHARED: "shared", ParameterScope.INPUT: "perInput", ParameterScope.NON_BASE: "perModel"}
    kinds = lambda p: getattr(p.value_type, "__name__", str(p.value_type))
    return {m.spec.name: {"base": m.spec.contract.base.value,
                          "parameters": {p.name: {"scope": scopes[p.scope], "type": kinds(p), **({} if p.default is MISSING else {"default": p.default})}
                                         for p in m.spec.parameters}}
            for m in registered_methods()}


def main():
    try:
        import mergekit  # noqa: F401
    except ImportError:
        print("  skipped: mergekit is not installed")
        return
    import logging
    import warnings

    logging.disable(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.use_deterministic_algorithms(False)
    right, wrong = [], []
    back = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        write_models(Path(scratch))
        os.chdir(scratch)
        try:
            for name, text in texts("right.txt"):
                rows = []
                runs = not name.endswith("(parse)")
                try:
                    with recorded(rows), contextlib.redirect_stderr(io.StringIO()):
                        config = merge(text, "out" if runs else None)
                except Exception as error:
                    print(f"  {name}: {type(error).__name__}: {error}")
                    continue
                right.append({"name": name, **({"rows": rows} if runs else {"models": [str(m.model) for m in config.models]})})
            for name, text in texts("wrong.txt"):
                wrong.append({"name": name.split(" | ")[0], "mergekit": outcome(text, "out")})
        finally:
            os.chdir(back)
    write_json("row104-merge-config.json", {"row": 104, "case": "configs of mergekit", "versions": VERSIONS,
               "methods": methods(), "right": right, "wrong": wrong})
    passed = sum(case["mergekit"] == "passes" for case in wrong)
    print(f"  {len(right)} right; {len(wrong)} wrong, of which mergekit passes {passed}")
