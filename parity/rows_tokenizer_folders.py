"""Row 321: what AutoTokenizer makes of folders that name tokens in several files, and of classes that it builds anew."""

import json
import random
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from common import E, FIXTURES, write_row

TEXTS = ["Hello world", " a  b ", "a</s>\nb", "<s>hi</s><pad> <mask>x", "<x1>a <x2>b<x3>", "日本é e\u0301", "new tokens<extra> <img>", "<|endoftext|>it's 123"]
POOL = ["<x1>", "<x2>", "<x3>", "<pad>", "<mask>", "<extra>", "<img>", "new", "</s>", "<s>", "<unk>", "Hello", "<|endoftext|>"]
BASES = ["bpe-llama3", "bpe-qwen2", "bpe-bytefallback", "unigram-bytefallback"]
NAMES = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"]


def obj(content, *flags, typed=True, special=None):
    value = {"content": content, **{k: k in flags for k in ["single_word", "lstrip", "rstrip", "normalized"]}}
    if special is not None:
        value["special"] = special
    return {"__type": "AddedToken", **value} if typed else value


def chosen():
    """A base, the files beside its tokenizer.json, and how many of its added tokens stay."""
    for model_type, base, declared in [
        ("llama", 2, "LlamaTokenizer"),
        ("llama", 2, "LlamaTokenizerFast"),
        ("llama", 0, "LlamaTokenizer"),
        ("llama", 0, "PreTrainedTokenizerFast"),
        ("llama", 0, "GPT2Tokenizer"),
        ("mistral", 2, "LlamaTokenizer"),
        ("smollm3", 0, "PreTrainedTokenizerFast"),
        ("qwen2", 1, "Qwen2Tokenizer"),
        ("qwen2", 0, "PreTrainedTokenizerFast"),
        ("qwen2", 0, None),
        ("qwen3", 1, "Qwen2TokenizerFast"),
        ("qwen3", 0, "PreTrainedTokenizerFast"),
        ("gemma", 2, "GemmaTokenizer"),
        ("gemma2", 2, "GemmaTokenizerFast"),
        ("gemma3_text", 2, None),
        ("phi3", 2, "LlamaTokenizer"),
        ("gpt2", 0, "GPT2Tokenizer"),
        ("gpt2", 0, None),
        (None, 2, "LlamaTokenizer"),
        (None, 3, None),
    ]:
        files = {"tokenizer_config.json": {"tokenizer_class": declared} if declared else {}}
        if model_type:
            files["config.json"] = {"model_type": model_type}
        yield BASES[base], files, None
    llama = {"tokenizer_class": "LlamaTokenizer"}
    for more in [{"legacy": True}, {"legacy": False}, {"add_prefix_space": False}, {"add_bos_token": True, "add_eos_token": True}]:
        yield BASES[2], {"tokenizer_config.json": {**llama, **more}}, None
    config = {"pad_token": "<pad>", "mask_token": obj("<mask>", "lstrip"), "additional_special_tokens": ["<x1>", obj("new", "single_word")]}
    yield BASES[0], {"tokenizer_config.json": config}, None
    yield BASES[0], {"tokenizer_config.json": {"extra_special_tokens": {"image_token": "<img>", "boi_token": obj("<x2>", "rstrip")}, "image_token": "<x3>"}}, None
    yield BASES[0], {"tokenizer_config.json": {"added_tokens_decoder": {"900": obj("<x2>", typed=False, special=True), "800": obj("new", "normalized", typed=False)}}}, None
    yield BASES[0], {"special_tokens_map.json": {"pad_token": "<pad>", "eos_token": obj("<|endoftext|>", typed=False), "additional_special_tokens": ["<x1>", "<x2>"]}, "added_tokens.json": {"<extra>": 901, "<x1>": 900}}, 3
    yield BASES[0], {"tokenizer_config.json": {"split_special_tokens": True}}, None
    rnd = random.Random(5)
    for _ in range(24):

        def value(typed=True):
            return rnd.choice(POOL) if rnd.random() < 0.6 else obj(rnd.choice(POOL), *rnd.sample(["single_word", "lstrip", "rstrip", "normalized"], rnd.randrange(3)), typed=typed, special=rnd.choice([None, True, False]) if typed else None)

        config = {k: value() for k in NAMES if rnd.random() < 0.3}
        declared = rnd.choice([None, "LlamaTokenizer", "GemmaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer", "TokenizersBackend", "NoSuchTokenizer"])
        if declared:
            config["tokenizer_class"] = declared
        if rnd.random() < 0.4:
            config["additional_special_tokens"] = [value() for _ in range(2)]
        if rnd.random() < 0.3:
            config["extra_special_tokens"] = rnd.choice([[value(), value()], {"image_token": value()}])
        if rnd.random() < 0.3:
            config["added_tokens_decoder"] = {str(900 + i): obj(c, typed=False, special=rnd.choice([True, False])) for i, c in enumerate(rnd.sample(POOL, 4))}
        files = {"tokenizer_config.json": config}
        if rnd.random() < 0.4:
            files["special_tokens_map.json"] = {k: value(False) for k in NAMES if rnd.random() < 0.3}
        if rnd.random() < 0.4:
            files["added_tokens.json"] = {c: 1000 + i for i, c in enumerate(rnd.sample(POOL, 3))}
        if rnd.random() < 0.5:
            files["config.json"] = {"model_type": rnd.choice(["llama", "qwen2", "qwen3", "gemma", "gpt2", "mistral", "phi3"])}
        yield rnd.choice(BASES), files, rnd.choice([None, None, 4])


def main():
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, (base, files, kept) in enumerate(chosen()):
            folder = Path(scratch) / str(i)
            folder.mkdir()
            tokenizer = json.loads((FIXTURES / "tokenizers" / base / "tokenizer.json").read_text())
            if kept is not None:
                tokenizer["added_tokens"] = tokenizer["added_tokens"][:kept]
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
            for name, value in files.items():
                (folder / name).write_text(json.dumps(value))
            case = {"base": base, "kept": kept, "files": files}
            try:
                python = AutoTokenizer.from_pretrained(folder)
            except Exception as error:
                # Two ways of saying "special", a special token that no vocabulary has.
                print("  refused:", str(error)[:90])
                continue
            case["class"] = type(python).__name__
            case["ids"] = [python.encode(t) for t in TEXTS]
            case["added"] = {str(k): v.content for k, v in sorted(python.added_tokens_decoder.items())}
            case["special"] = {k: getattr(python, k) for k in ["bos_token", "eos_token", "pad_token"]}
            case["text"] = [python.decode(ids, skip_special_tokens=True) for ids in case["ids"]]
            found.append(case)
    write_row(321, "tokenizer-folders", "AutoTokenizer.from_pretrained of folders", E, found, texts=TEXTS)
