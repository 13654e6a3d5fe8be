"""Tokenizers and embeddings that mergekit's run_merge builds: union, base, a model's; rows of tokens by the config; padding; templates."""

import json
import random
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from common import VERSIONS, fresh_folder, seed, write_json, write_tensors

try:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge
except ImportError:
    run_merge = None

FOLDER = "merge-tokenizer"
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
TABLES = {"embed": "model.embed_tokens.weight", "head": "lm_head.weight"}


def special(content, **flags):
    return {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, "content": content, **flags}


# Pairs that are merged, added tokens, rows of the embedding. "first" has padding, "third" an odd number of rows.
MODELS = {
    "first": (
        ["th", "er", "on", "an", "in", "re", "the", "ing", "and", "st", "her", "or", "en", "at", "is", "ther", "es", "ed"],
        [special("<s>"), special("</s>"), special("<|im_end|>")], 64),
    "second": (
        ["an", "th", "en", "ou", "and", "the", "er", "al", "ing", "in", "you", "tion", "io", "ti", "ion", "is", "he"],
        [special("<s>"), special("</s>", rstrip=True), special("<|im_start|>"), special("on", special=False, normalized=True)], None),
    "third": (
        ["th", "in", "ou", "al", "the", "re", "ll", "all", "for", "fo", "or"],
        [special("<s>"), special("<pad>"), special("<|user|>", lstrip=True, rstrip=True)], 53),
}


def bpe(merged):
    """A vocabulary of letters and what is merged of them, in an order in which each merge has its parts."""
    vocab, merges, left = list(LETTERS), [], list(merged)
    while left:
        for token in left:
            cut = next((i for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab), None)
            if cut is not None:
                merges.append([token[:cut], token[cut:]])
                vocab.append(token)
                left.remove(token)
                break
        else:
            raise AssertionError(left)
    return vocab, merges


def write_model(folder, merged, added, rows):
    import transformers

    vocab, merges = bpe(merged)
    random.shuffle(vocab)
    ids = {token: i for i, token in enumerate(vocab)}
    listed, new = [], len(vocab)
    for token in added:
        listed.append({"id": ids.get(token["content"], new), **token})
        new += token["content"] not in ids
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": listed, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": ids, "merges": merges},
    }
    config = transformers.LlamaConfig(
        vocab_size=rows or new, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=32, bos_token_id=new, eos_token_id=new, pad_token_id=None, tie_word_embeddings=False)
    by_content = {t["content"]: t["id"] for t in listed}
    config.bos_token_id = by_content["<s>"]
    config.eos_token_id = by_content.get("</s>", by_content["<s>"])
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    # The tables of tokens are all that is compared.
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, indent=1), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


LINEAR = {"merge_method": "linear", "base_model": "first", "models": [
    {"model": "first", "parameters": {"weight": 0.5}}, {"model": "second", "parameters": {"weight": 0.3}}, {"model": "third", "parameters": {"weight": 0.2}}]}
SLERP = {"merge_method": "slerp", "base_model": "first", "models": [{"model": "first"}, {"model": "second"}], "parameters": {"t": 0.4}}
MIDDLE = {**LINEAR, "models": [LINEAR["models"][i] for i in (1, 0, 2)]}
TOKENS = {
    "<|im_start|>": {"source": "second"},
    "the": {"source": {"kind": "zero"}, "force": True},
    "and": {"source": "second", "force": True},
    "<pad>": {"source": {"kind": "zero"}},
    "tion": {"source": {"kind": "model_token", "model": "first", "token": "on"}},
    "ou": {"source": {"kind": "model_token", "model": "third", "token_id": 7}, "force": True},
    "<new>": {"source": {"kind": "model_token", "model": "second", "token": "he"}},
    "<zero>": {"source": {"kind": "zero"}},
}
CASES = {
    "linear-union": {**LINEAR, "tokenizer_source": "union"},
    "linear-base": {**LINEAR, "tokenizer_source": "base"},
    "linear-model": {**LINEAR, "tokenizer_source": "third"},
    "linear-second": {**LINEAR, "tokenizer": {"source": "second"}},
    "linear-middle": {**MIDDLE, "tokenizer": {"source": "union"}},
    "linear-tokens": {**LINEAR, "tokenizer": {"source": "union", "tokens": TOKENS}},
    "linear-tokens-base": {**LINEAR, "tokenizer": {"source": "base", "tokens": TOKENS}},
    "linear-pad-16": {**LINEAR, "tokenizer": {"source": "union", "pad_to_multiple_of": 16}},
    "linear-pad-base": {**LINEAR, "tokenizer": {"source": "base", "pad_to_multiple_of": 64}},
    "linear-pad-tokens": {**LINEAR, "tokenizer": {"source": "union", "tokens": TOKENS, "pad_to_multiple_of": 24}},
    "slerp-union": {**SLERP, "tokenizer_source": "union"},
    "slerp-model": {**SLERP, "tokenizer_source": "second"},
    "slerp-pad": {**SLERP, "tokenizer": {"source": "base", "pad_to_multiple_of": 10}},
}
TEXTS = ["the other thing is on", "and all you tionfor <|im_start|>", "<s>her</s> <pad> ouan ing", "station <|user|> onion"]

CONVERSATIONS = [
    [{"role": "user", "content": " Hi\n"}],
    [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello "},
     {"role": "user", "content": "Bye"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Hello"}],
    [{"role": "user", "content": "Sum"}, {"role": "user_context", "content": " 1 + 1 "}],
    [{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "One"}, {"role": "system", "content": "Two"}, {"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "tool", "content": "x"}],
    [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}],
]


def templates():
    """What mergekit's templates render in transformers; null where they refuse."""
    import importlib.resources

    from mergekit._data import chat_templates
    from transformers.utils.chat_template_utils import _compile_jinja_template

    cases = []
    for name in ["chatml", "llama3", "alpaca", "mistral"]:
        template = _compile_jinja_template(importlib.resources.files(chat_templates).joinpath(name + ".jinja").read_text())
        for index in range(len(CONVERSATIONS)):
            for prompt in [False, True]:
                try:
                    text = template.render(messages=CONVERSATIONS[index], add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
                except Exception:
                    text = None
                cases.append({"name": name, "conversation": index, "addGenerationPrompt": prompt, "text": text})
    return cases


def placed(value, folder):
    """The config with the folders of its models."""
    if isinstance(value, dict):
        return {key: placed(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [placed(item, folder) for item in value]
    return str(folder / value) if value in MODELS else value


def merged(name, config, models, rows):
    import transformers

    with tempfile.TemporaryDirectory() as out:
        run_merge(MergeConfiguration.model_validate(placed(config, models)), out, MergeOptions(quiet=True, write_model_card=False))
        tensors = load_file(str(Path(out) / "model.safetensors")) if (Path(out) / "model.safetensors").exists() else {
            k: v for file in sorted(Path(out).glob("*.safetensors")) for k, v in load_file(str(file)).items()}
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        vocab = tokenizer.get_vocab()
        order = sorted(vocab)
        for table, tensor in TABLES.items():
            weight = tensors[tensor]
            rows[f"{name}.{table}"] = weight[[vocab[token] for token in order]]
            if len(weight) > len(vocab):
                rows[f"{name}.{table}.padding"] = weight[len(vocab):len(vocab) + 1]
        added = json.loads((Path(out) / "tokenizer.json").read_text())["added_tokens"]
        return {
            "name": name, "config": config, "numRows": len(weight), "vocabulary": order,
            "vocabSize": json.loads((Path(out) / "config.json").read_text())["vocab_size"],
            # Ids of new tokens are those of a hash table, other ones each time.
            "added": sorted(({k: v for k, v in token.items() if k != "id"} for token in added), key=lambda token: token["content"]),
            "pieces": [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in TEXTS],
        }


def main():
    if run_merge is None:
        print("  mergekit is not installed: merge_tokenizer is skipped")
        return
    seed(17)
    random.seed(17)
    folder = fresh_folder(FOLDER)
    for name, (pairs, added, count) in MODELS.items():
        (folder / name).mkdir()
        write_model(folder / name, pairs, added, count)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
    rows = {}
    cases = [merged(name, config, folder, rows) for name, config in CASES.items()]
    write_tensors(f"{FOLDER}/rows.safetensors", rows)
    write_json(f"{FOLDER}/cases.json", {
        "case": "tokenizers and embeddings by run_merge", "versions": VERSIONS, "texts": TEXTS, "cases": cases,
        "conventions": {"rows": "<case>.embed, <case>.head: rows in the order of `vocabulary`; .padding: the first row behind the tokens"}})
    write_json(f"{FOLDER}/templates.json", {
        "case": "chat templates that a config names", "versions": VERSIONS, "conversations": CONVERSATIONS, "cases": templates()})
