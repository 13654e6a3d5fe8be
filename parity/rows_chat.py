"""Rows 112 to 115: chat templates, assistant masks, completion masks and tokenizers, as transformers, TRL and tokenizers have them."""

import json

from datasets import Dataset, disable_progress_bars
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from common import E, FIXTURES, HERE, write_json, write_row

TEMPLATES = ["llama3", "chatml", "qwen2_5", "qwen3", "qwen3_kept", "mistral", "gemma"]

SPECIAL = (
    ["<s>", "</s>", "<unk>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>"]
    + ["<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"]
)
NOT_SPECIAL = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

# What Llama 3 and Qwen 2 split words by: the latter takes digits one by one.
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")

WORDS = """the a of to and in is it you that was for on are with as his they be at one have this from or had by hot but some what
there we can out other were all your when up use word how said an each she which do their time if will way about many then them
would write like so these her long make thing see him two has look more day could go come did my sound no most number who over know
water than call first people may down side been now find any new work part take get place made live where after back little only
round man year came show every good me give our under name very through just form much great think say help low line before turn
cause same mean differ move right boy old too does tell sentence set three want air well also play small end put home read hand port
large spell add even land here must big high such follow act why ask men change went light kind off need house picture try us again
animal point mother world near build self earth father answer question hello assistant user system function return const""".split()


def corpus():
    """Text to learn merges from: the words above in a fixed order, some of them joined, with digits and other scripts."""
    lines = []
    for i in range(600):
        picked = [WORDS[(i * 7 + j * j * 3 + j) % len(WORDS)] for j in range(9)]
        lines.append(" ".join(picked).capitalize() + (". " if i % 3 else "!\n") + str(i * 37 % 1000))
    return lines + ["日本語の文章です。", "你好，世界！", "안녕하세요 세계", "Привет, мир", "naïve café déjà vu", "🙂🙂 👍🏽"] * 8


def bytelevel(pattern, normalizer=None, words=380):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=words + len(SPECIAL), special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in NOT_SPECIAL])
    return tokenizer


def llama3_like():
    tokenizer = bytelevel(LLAMA3)
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True),
            processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", bos)]),
        ]
    )
    return tokenizer


def qwen2_like():
    tokenizer = bytelevel(QWEN2, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return tokenizer


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def llama2_like():
    """BPE as SentencePiece has it: spaces are letters, what is not known goes by bytes."""
    plain = Tokenizer(models.BPE())
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    plain.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=420, limit_alphabet=90, show_progress=False))
    trained = json.loads(plain.to_str())["model"]
    names = SPECIAL + BYTES + [t for t, _ in sorted(trained["vocab"].items(), key=lambda kv: kv[1])]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(names)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = plain.normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", bos)])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    lowest = min(score for _, score in model["vocab"]) - 10
    vocab = [(t, round(s, 6)) for t, s in model["vocab"]] + [(b, lowest) for b in BYTES]
    tokenizer.model = models.Unigram(vocab, unk_id=SPECIAL.index("<unk>"), byte_fallback=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)])
    return tokenizer


def load(kind):
    """The committed tokenizer. Trained where there is none: training is not the same bit for bit in each run."""
    file = FIXTURES / "tokenizers" / kind / "tokenizer.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        KINDS[kind]().save(str(file), pretty=False)
    return Tokenizer.from_file(str(file))


KINDS = {"bpe-llama3": llama3_like, "bpe-qwen2": qwen2_like, "bpe-bytefallback": llama2_like, "unigram-bytefallback": unigram}


def wrapped(tokenizer, **more):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **more)


def texts():
    """500 strings: words, spaces, digits, contractions, scripts, emoji with joiners, combining marks, special tokens, odd controls."""
    pieces = (
        ["Hello", "world", " the", "it's", "WE'LL", "don’t", "12345", "3.14", "a_b", "x=y;", "https://a.b/c?d=e", "\n", "\n\n", "\t", "  ", "   "]
        + ["日本語", "こんにちは", "カタカナ", "你好", "世界", "안녕", "Привет", "مرحبا", "שלום", "नमस्ते", "ไทย", "Ελλάδα", "Ñandú", "é", "e\u0301", "ﬁ", "Å", "ß", "İ"]
        + ["🙂", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "♥️", "𝔘𝔫𝔦", "\u00a0", "\u200b", "\u3000", "…", "—", "«»", "½", "²", "Ⅷ", "\r\n", "\u0085", "\ufeff"]
        + ["<s>", "</s>", "<|im_end|>", "<think>", " <s> ", "<s>x", "<|im_start|>user", "<0x41>", "▁", "Ġ", "[INST]", "{\"a\": [1, 2]}", "<html>", "\\n", "\"", "'", "`", "#", "@", "%"]
    )
    out = ["", " ", "a", " a", "a ", "\n", "▁▁", "日", "🙂", "'s", "12 345 678", "ab" * 40, "é" * 5, "\U0010ffff", "\x00", "\x7f"]
    out += [p for p in pieces if p not in out]
    i = 0
    while len(out) < 500:
        count = 2 + i % 5
        picked = [pieces[(i * 13 + j * 29 + j * j * i) % len(pieces)] for j in range(count)]
        text = ("" if i % 3 else " ").join(picked)
        i += 1
        if text not in out:
            out.append(text)
    return out


def tokenizers_row():
    strings = texts()
    cases = []
    for name in KINDS:
        tokenizer = load(name)
        write_json(f"tokenizers/{name}/tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
        python = wrapped(tokenizer)
        ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in strings]
        cases.append(
            {
                "name": name,
                "ids": ids,
                "withSpecial": [tokenizer.encode(t).ids for t in strings[:24]],
                "decoded": [python.decode(i, skip_special_tokens=False) for i in ids],
                "decodedSkip": [python.decode(i, skip_special_tokens=True) for i in ids[:140]],
            }
        )
    for c in cases:  # mostly the text itself: only what differs is written
        c["decoded"] = {str(i): d for i, d in enumerate(c["decoded"]) if d != strings[i]}
    write_row(115, "tokenizers", "tokenizer.json: byte-level BPE, BPE and Unigram with byte fallback", E, cases, texts=strings)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather \"now\" in a place, in °C",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 0}}, "required": ["place"]},
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 2, "exact": True, "unit": None}}}


def m(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = {
    "one turn": {"messages": [m("user", "Hello"), m("assistant", "Hi there!")]},
    "question only": {"messages": [m("user", "What is 2 + 2?")]},
    "system": {"messages": [m("system", "Be brief."), m("user", "What is it?"), m("assistant", "A test.")]},
    "three turns": {
        "messages": [m("user", "one"), m("assistant", "two"), m("user", "three"), m("assistant", "four"), m("user", "five"), m("assistant", "six")]
    },
    "ends with a question": {"messages": [m("user", "one"), m("assistant", "two"), m("user", "three?")]},
    "other scripts": {"messages": [m("user", "日本語で 🙂 <ok> & \"quotes\""), m("assistant", "はい、👨‍👩‍👧 naïve — ok")]},
    "spaces": {"messages": [m("user", "  what \n\n"), m("assistant", "\n\n  answer with space \n")]},
    "empty answer": {"messages": [m("user", "say nothing"), m("assistant", "")]},
    "tools": {"messages": [m("system", "Use tools."), m("user", "Weather in Zürich?")], "tools": [WEATHER]},
    "tool call and answer": {
        "messages": [
            m("user", "Weather in Zürich?"),
            m("assistant", "", tool_calls=[CALL]),
            m("tool", '{"temperature": 21}', name="weather"),
            m("tool", '{"temperature": 19}', name="weather"),
            m("assistant", "It is 21 degrees."),
        ],
        "tools": [WEATHER],
    },
    "thinking as a field": {
        "messages": [m("user", "2 + 2?"), m("assistant", "4", reasoning_content="two and two"), m("user", "3 + 3?"), m("assistant", "6", thinking="\nthree and three\n")]
    },
    "thinking in the words": {"messages": [m("user", "2 + 2?"), m("assistant", "<think>\ntwo and two\n</think>\n\n4")], "kwargs": {"enable_thinking": False}},
}


def template(name):
    return (HERE / "chat_templates" / f"{name}.jinja").read_text()


def templates_row():
    """Text of every template and conversation, with and without the generation prompt; null where the template refuses."""
    python = wrapped(load("bpe-llama3"))
    cases = []
    for name in TEMPLATES:
        for title, c in CONVERSATIONS.items():
            rendered = {}
            for key, prompt in (("text", False), ("withPrompt", True)):
                try:
                    rendered[key] = python.apply_chat_template(
                        c["messages"], tools=c.get("tools"), chat_template=template(name), tokenize=False, add_generation_prompt=prompt, **c.get("kwargs", {})
                    )
                except Exception as error:
                    assert "take turns" in str(error) or "system role" in str(error), error
                    rendered[key] = None
            cases.append({"template": name, "conversation": title, **rendered})
    write_row(112, "chat-templates", "apply_chat_template of transformers", E, cases, conversations=CONVERSATIONS)


def masks_row():
    """The mask of {% generation %}. `plain` says whether the same template without the tags must give it, too."""
    cases = []
    for kind in ["bpe-llama3", "bpe-qwen2"]:
        python = wrapped(load(kind))
        for name in TEMPLATES:
            for title, c in CONVERSATIONS.items():
                if not any(x["role"] == "assistant" for x in c["messages"]):
                    continue
                try:
                    out = python.apply_chat_template(
                        c["messages"],
                        tools=c.get("tools"),
                        chat_template=template(name),
                        return_dict=True,
                        return_assistant_tokens_mask=True,
                        **c.get("kwargs", {}),
                    )
                except Exception as error:
                    assert "take turns" in str(error) or "system role" in str(error), error
                    continue
                cases.append({"tokenizer": kind, "template": name, "conversation": title, "ids": out["input_ids"], "mask": "".join(map(str, out["assistant_masks"]))})
    write_row(113, "assistant-masks", "return_assistant_tokens_mask of transformers", E, cases)


def prepared(python, rows, **more):
    """SFTTrainer's own preparation, without a model or a run."""
    trainer = SFTTrainer.__new__(SFTTrainer)
    trainer.chat_template = python.chat_template
    trainer._tokenizer = python
    args = SFTConfig(output_dir="/tmp/none", report_to="none", bf16=False, use_cpu=True, max_length=more.pop("max_length", 1024), **more)
    trainer.completion_only_loss = args.completion_only_loss if args.completion_only_loss is not None else "prompt" in rows[0]
    trainer._is_vlm = False
    return list(trainer._prepare_dataset(Dataset.from_list(rows), python, args, False, None, "train"))


def completions_row():
    chat = CONVERSATIONS["three turns"]["messages"]
    plain = [
        {"prompt": "Say hel", "completion": "lo world"},  # a merge crosses the boundary
        {"prompt": "Question: what is it?\n", "completion": "\nThe answer"},  # two line breaks are one token
        {"prompt": "The number is ", "completion": "42"},
        {"prompt": "The number is 1", "completion": "23</s>"},
        {"prompt": "日本", "completion": "語 🙂"},
        {"prompt": "", "completion": "all of it"},
        {"prompt": "nothing to say", "completion": ""},
    ]
    chats = [{"prompt": chat[:5], "completion": chat[5:]}, {"prompt": chat[:1], "completion": chat[1:]}]
    groups = []

    def group(title, kind, rows, name=None, **options):
        python = wrapped(load(kind), chat_template=template(name) if name else None)
        made = prepared(python, rows, **options)
        assert len(made) == len(rows) or "max_length" in options
        groups.append(
            {
                "name": title,
                "tokenizer": kind,
                "template": name,
                "options": {"completionOnlyLoss": options.get("completion_only_loss"), "assistantOnlyLoss": options.get("assistant_only_loss", False), "maxLength": options.get("max_length", 1024)},
                "rows": rows,
                "ids": [r["input_ids"] for r in made],
                "labels": [r["labels"] for r in made],
            }
        )

    for kind in ["bpe-llama3", "bpe-qwen2", "bpe-bytefallback"]:
        group(f"text, {kind}", kind, plain)
        group(f"text, everything learned, {kind}", kind, plain, completion_only_loss=False)
    group("cut off", "bpe-llama3", plain[:5], max_length=9)
    for name in ["llama3", "qwen3", "gemma", "mistral"]:
        group(f"chats, {name}", "bpe-llama3", chats, name)
    group("completion and assistant masks together", "bpe-llama3", chats, "llama3", assistant_only_loss=True)
    group("assistant mask of prompts and completions", "bpe-llama3", chats, "llama3", assistant_only_loss=True, completion_only_loss=False)
    group("conversations", "bpe-llama3", [{"messages": chat}], "chatml")
    group("conversations, the assistant alone", "bpe-llama3", [{"messages": chat}], "chatml", assistant_only_loss=True)
    # A template whose generation prompt is not what the whole conversation has there.
    thinking = template("chatml").replace("'<|im_start|>assistant\\n' }}{% endif %}", "'<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
    assert thinking != template("chatml")
    python = wrapped(load("bpe-llama3"), chat_template=thinking)
    made = prepared(python, chats)
    groups.append(
        {"name": "the prompt alone renders otherwise", "tokenizer": "bpe-llama3", "template": None, "chatTemplate": thinking, "mismatch": "<think>\n",
         "options": {"completionOnlyLoss": None, "assistantOnlyLoss": False, "maxLength": 1024}, "rows": chats, "ids": [r["input_ids"] for r in made], "labels": [r["labels"] for r in made]}
    )
    write_row(114, "completion-masks", "rows as trl.SFTTrainer prepares them", E, groups)


def main():
    disable_progress_bars()
    tokenizers_row()
    templates_row()
    masks_row()
    completions_row()
