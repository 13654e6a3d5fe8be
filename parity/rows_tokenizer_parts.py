"""Row 320: every part that a tokenizer.json can have, as the tokenizers library has it: ids, positions, text."""

import json

from tokenizers import Tokenizer

from common import E, write_row

TEXTS = [
    "",
    "  two  spaces ",
    "Hello hello,the theing\r\n\r\n x",
    "日本語の。 가각 🙂👍🏽👨‍👩‍👧 🇩🇪",
    "e\u0301e\u0301 é Å ﬁ ß İ Σς ½²Ⅷ",
    "\x00a\x7f\u200b\ufeff\u00a0b\u3000c\u2028d\u0085e",
    "it's WE'LL they'Ve 12 3456.7",
    "<s>hello</s> <s> </s>x<x>a b a  b<x><x>",
    "a_b-c (x=y;) don’t “q” — `w`",
    "ab ab llama aaab xxy \t\n",
]

LETTERS = sorted({c for t in TEXTS for c in t if not c.isspace()} | set("▁ _*Z~0") | {"fi", "ss"})[:400]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
UNK, BOS, EOS = "<unk>", "<s>", "</s>"

BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
ODD = r"(?>a+)b|x*?y|l{2,3}?|\h{2}|[[:upper:]]|\R|(?<=o) |(?x: i t )|[\p{Han}&&[^日]]|\bthe\b|^  "


def model(kind):
    """Small vocabularies. `letters` shows where words begin: its letters are other tokens there."""
    if kind == "letters":
        names = [UNK, BOS, EOS, *LETTERS, *("##" + c for c in LETTERS)]
        return {"type": "BPE", "unk_token": UNK, "continuing_subword_prefix": "##", "vocab": {n: i for i, n in enumerate(names)}, "merges": []}
    if kind == "bytes":
        names = [UNK, BOS, EOS, *LETTERS[:60], *BYTES, "he", "ll", "hell", "hello"]
        vocab = {n: i for i, n in enumerate(dict.fromkeys(names))}
        return {"type": "BPE", "unk_token": UNK, "fuse_unk": True, "byte_fallback": True, "vocab": vocab, "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["hell", "o"]]}
    if kind == "suffix":
        names = [UNK, *LETTERS, *(c + "</w>" for c in LETTERS), "th", "the</w>"]
        return {"type": "BPE", "unk_token": UNK, "end_of_word_suffix": "</w>", "ignore_merges": True, "vocab": {n: i for i, n in enumerate(dict.fromkeys(names))}, "merges": ["t h", "th e</w>"]}
    if kind == "wordpiece":
        names = [UNK, BOS, EOS, "hel", "##lo", "he", "the", "##ing", "a", "b", "##b", "##a", "two", "spaces", ",", "日", "e", "x", "it", "'", "s"]
        return {"type": "WordPiece", "unk_token": UNK, "continuing_subword_prefix": "##", "max_input_chars_per_word": 6, "vocab": {n: i for i, n in enumerate(names)}}
    if kind == "words":
        return {"type": "WordLevel", "unk_token": UNK, "vocab": {n: i for i, n in enumerate([UNK, BOS, EOS, "hello", "the", "a", "b", "日本語の"])}}
    pieces = [(UNK, 0.0), ("▁", -2.0), ("▁he", -2.5), ("ll", -2.5), ("hello", -3.0), ("▁the", -1.5), ("ing", -1.5), ("a", -3.0), ("b", -3.0), ("ab", -5.0), ("o", -3.5), ("日本", -2.0), ("日", -4.0)]
    if kind == "unigram-bytes":
        pieces += [(b, -20.0) for b in BYTES]
    return {"type": "Unigram", "unk_id": 0, "byte_fallback": kind == "unigram-bytes", "vocab": pieces}


KINDS = ["letters", "bytes", "suffix", "wordpiece", "words", "unigram", "unigram-bytes"]


def added(content, *flags):
    names = ["single_word", "lstrip", "rstrip", "normalized", "special"]
    return {"content": content, **{n: n in flags for n in names}}


def split(pattern, behavior="Isolated", invert=False, regex=True):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def template(*pieces):
    slots = [{"Sequence": {"id": "A", "type_id": 0}} if p == "$A" else {"SpecialToken": {"id": p, "type_id": 0}} for p in pieces]
    tokens = {BOS: {"id": BOS, "ids": [1], "tokens": [BOS]}, EOS: {"id": EOS, "ids": [2], "tokens": [EOS]}}
    return {"type": "TemplateProcessing", "single": slots, "pair": slots + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": tokens}


def cases():
    plain = [{"type": t} for t in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]]
    plain += [{"type": "Strip", "strip_left": left, "strip_right": not left} for left in (True, False)]
    plain += [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    plain += [{"type": "Replace", "pattern": {"Regex": r"l+|\s{2,}"}, "content": "*Z"}]
    plain += [{"type": "BertNormalizer", "clean_text": c, "handle_chinese_chars": c, "strip_accents": a, "lowercase": not c} for c in (True, False) for a in (None, True)]
    plain += [{"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}]
    for n in plain:
        yield "letters", {"normalizer": n}
    for b in BEHAVIORS:
        for invert in (False, True):
            yield "letters", {"pre_tokenizer": split(r"\s", b, invert)}
        yield "letters", {"pre_tokenizer": {"type": "Punctuation", "behavior": b}}
    pre = [{"type": t} for t in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"]]
    pre += [{"type": "Digits", "individual_digits": d} for d in (True, False)]
    pre += [{"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "FixedLength", "length": 3}, split("ll", regex=False)]
    pre += [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": s, "split": d} for s in ("first", "always", "never") for d in (True, False)]
    pre += [split(p) for p in (LLAMA3, CL100K, ODD)]
    pre += [{"type": "Sequence", "pretokenizers": [split(LLAMA3), {**GPT2, "use_regex": False}]}, {**GPT2, "add_prefix_space": True}]
    for p in pre:
        yield "letters", {"pre_tokenizer": p}
    for kind in KINDS[1:]:
        yield kind, {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True} if "unigram" in kind else {"type": "WhitespaceSplit"}}
    fallback = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    for d in [fallback, {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "CTC", "pad_token": "e", "word_delimiter_token": "a", "cleanup": True}, {"type": "Metaspace", "replacement": "l", "prepend_scheme": "always"}, GPT2, {"type": "Replace", "pattern": {"Regex": "[aeiou]+"}, "content": "~"}]:
        yield "bytes", {"decoder": d}
    yield "suffix", {"decoder": {"type": "BPEDecoder", "suffix": "</w>"}, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    cls, sep = [BOS, 1], [EOS, 2]
    for p in [template(BOS, "$A"), template(EOS, "$A", BOS, EOS), {"type": "BertProcessing", "cls": cls, "sep": sep}, {"type": "RobertaProcessing", "cls": cls, "sep": sep, "trim_offsets": False, "add_prefix_space": False}, {"type": "Sequence", "processors": [GPT2, template(BOS, "$A")]}]:
        yield "words", {"post_processor": p, "pre_tokenizer": {"type": "Whitespace"}}
    for flags in ([], ["single_word"], ["lstrip"], ["rstrip"], ["lstrip", "rstrip", "special"], ["normalized"], ["normalized", "special", "single_word"]):
        tokens = [added("<x>", *flags), added("hello", *flags), added("ing", *flags), added(BOS, *flags), added("<", "lstrip"), added("ab", "single_word", "normalized")]
        for n in (None, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"}):
            yield "bytes", {"added_tokens": tokens, "normalizer": n, "decoder": fallback}


def main():
    found = []
    models = {kind: model(kind) for kind in KINDS}
    for kind, parts in cases():
        size = len(models[kind]["vocab"])
        tokens = [{"id": size + i, **t} for i, t in enumerate(parts.get("added_tokens", []))]
        file = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None, **parts, "added_tokens": tokens, "model": models[kind]}
        python = Tokenizer.from_str(json.dumps(file))
        encoded = [python.encode(t) for t in TEXTS]
        case = {"model": kind, "parts": {**parts, "added_tokens": tokens}, "ids": [e.ids for e in encoded]}
        if "normalizer" in parts and "decoder" not in parts:
            # Positions in code points, start and end after another.
            case["offsets"] = [[x for o in e.offsets for x in o] for e in encoded]
        if "decoder" in parts:
            case["text"] = [python.decode(e.ids, skip_special_tokens=False) if e.ids else "" for e in encoded]
            if "added_tokens" in parts:
                case["textWithoutSpecial"] = [python.decode(e.ids) if e.ids else "" for e in encoded]
        found.append(case)
    write_row(320, "tokenizer-parts", "tokenizers.Tokenizer of every part", E, found, models=models, texts=TEXTS)
