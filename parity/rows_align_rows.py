"""Rows 72 and 75: preference rows as TRL's DPO, KTO, Reward, CPO/ORPO and GRPO trainers tokenise and collate them."""

import copy
import re
from types import SimpleNamespace
from unittest.mock import patch

from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer
from trl.data_utils import extract_prompt, maybe_apply_chat_template, maybe_extract_prompt, unpair_preference_dataset
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer import kto_trainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from common import E, SHARED, SHARED_NAME, write_row
from rows_chat import CALL, WEATHER, load, template, wrapped

STORIES = f"{SHARED_NAME}/models/stories260k"
LONG = 4096  # longer than any row: nothing is cut off


def m(role, content, **more):
    return {"role": role, "content": content, **more}


def u(content):
    return m("user", content)


def a(content):
    return m("assistant", content)


# Plain rows: boundaries that merge, ends that are there, empty prompts and answers.
PLAIN = {
    "a space before the answers": {"prompt": "Which word", "chosen": " is good", "rejected": " is big"},
    "a space at the prompt's end": {"prompt": "Which word ", "chosen": "is good", "rejected": "is big"},
    "merges with one answer": {"prompt": "hel", "chosen": "lo there", "rejected": " them"},
    "merges with the other": {"prompt": "hel", "chosen": " them", "rejected": "lo there"},
    "merges with both, unequally": {"prompt": "an w", "chosen": "orld", "rejected": "ater"},
    "merges over several tokens": {"prompt": "sen te n", "chosen": "ce", "rejected": "ces now"},
    "digits": {"prompt": "The year 12", "chosen": "34 was good.", "rejected": "3 or 5"},
    "ends that are there": {"prompt": "Say so.", "chosen": " yes</s>", "rejected": " no</s>"},
    "an end within": {"prompt": "Say so.", "chosen": " yes</s> and", "rejected": " no"},
    "an empty answer": {"prompt": "Say so.", "chosen": " yes", "rejected": ""},
    "equal answers": {"prompt": "Say so.", "chosen": " yes", "rejected": " yes"},
    "an empty prompt": {"prompt": "", "chosen": "good", "rejected": "bad"},
    "a prompt that begins with the BOS": {"prompt": "<s>Say", "chosen": " yes", "rejected": " no"},
    "a prompt that ends with an end": {"prompt": "Say so.</s>", "chosen": "yes", "rejected": "no"},
    "other scripts": {"prompt": "日本", "chosen": "語の文章です。", "rejected": "🙂🙂"},
    "spaces and lines": {"prompt": "Q: one\n\nA:", "chosen": "\n two ", "rejected": "\n\n three"},
}

IMPLICIT = {
    "words differ": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "letters differ": {"chosen": "The word bed", "rejected": "The word bad"},
    "nothing shared": {"chosen": "yes", "rejected": "no"},
}

# Where extract_prompt is wrong: ours are what is shared.
IMPLICIT_WRONG = {
    "one is the beginning of the other": {"chosen": "The sky is", "rejected": "The sky is blue"},
    "the other way round": {"chosen": "The sky is blue", "rejected": "The sky is"},
    "equal": {"chosen": "The sky", "rejected": "The sky"},
    "a space at the end": {"chosen": "yes ", "rejected": "no"},
}

TURN = [u("What is good?")]
SYSTEM = [m("system", "Be brief."), u("What is it?")]
CHATS = {
    "one turn": {"prompt": TURN, "chosen": [a("It is the light.")], "rejected": [a("It was me.")]},
    "a system prompt": {"prompt": SYSTEM, "chosen": [a("A test.")], "rejected": [a("A long test of all.")]},
    "earlier turns": {"prompt": [u("one"), a("two"), u("three")], "chosen": [a("four")], "rejected": [a("five")]},
    "answers of several turns": {
        "prompt": TURN,
        "chosen": [a("Light."), u("And more?"), a("Air.")],
        "rejected": [a("Nothing.")],
    },
    "spaces": {"prompt": [u(" what \n")], "chosen": [a("\n so ")], "rejected": [a("  no")]},
    "an empty answer": {"prompt": TURN, "chosen": [a("Light.")], "rejected": [a("")]},
    "equal answers": {"prompt": TURN, "chosen": [a("Light.")], "rejected": [a("Light.")]},
    "an implicit prompt": {"chosen": [*TURN, a("Light.")], "rejected": [*TURN, a("Air.")]},
    "implicit, earlier turns": {
        "chosen": [u("one"), a("two"), u("three"), a("four")],
        "rejected": [u("one"), a("two"), u("three"), a("five")],
    },
}
# Templates that know no system prompt, or take turns in one order only.
WITHOUT = {"gemma": ["a system prompt"], "mistral": []}
TOOLED = {
    "tools and a call": {
        "prompt": [u("Weather in Zürich?")],
        "chosen": [m("assistant", "", tool_calls=[CALL])],
        "rejected": [a("I do not know.")],
        "tools": [WEATHER],
    },
    "thinking off": {"prompt": TURN, "chosen": [a("Light.")], "rejected": [a("Air.")], "chat_template_kwargs": {"enable_thinking": False}},
    "thoughts": {"prompt": TURN, "chosen": [a("<think>\nhm\n</think>\n\nLight.")], "rejected": [a("Air.")]},
}


def arguments(**more):
    return SimpleNamespace(**{"dataset_num_proc": None, "max_length": None, "truncation_mode": "keep_start", **more})


def prepared(trainer, tokenizer, rows, weights=(1.0, 1.0), **options):
    """Rows through the `_prepare_dataset` of a trainer."""
    me = SimpleNamespace(_tokenizer=tokenizer, calculate_KL=True, desirable_weight=weights[0], undesirable_weight=weights[1])
    made = trainer._prepare_dataset(me, Dataset.from_list(copy.deepcopy(rows)), tokenizer, arguments(**options), "train")
    return list(made)


def sequences(batch, prefix=""):
    """Rows of a batch without their padding, and how many tokens of each are the prompt."""
    out = []
    for ids, kept, mask in zip(batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"], batch[f"{prefix}completion_mask"]):
        n = int(kept.sum())
        out.append({"ids": ids[:n].tolist(), "prompt": n - int(mask[:n].sum())})
    return out


def dpo(tokenizer, row, max_length=None, truncation_mode="keep_start"):
    made = prepared(DPOTrainer, tokenizer, [row], max_length=max_length, truncation_mode=truncation_mode)
    if not made:
        return None
    collate = DataCollatorForPreference(pad_token_id=0, max_length=max_length, truncation_mode=truncation_mode)
    return sequences(collate(made))


def reward(tokenizer, row, max_length=None):
    made = prepared(RewardTrainer, tokenizer, [row], max_length=max_length)
    return [made[0]["chosen_ids"], made[0]["rejected_ids"]] if made else None


def cpo(tokenizer, row, max_length=LONG):
    out = []
    for trainer in (CPOTrainer, ORPOTrainer):
        me = SimpleNamespace(processing_class=tokenizer, max_length=max_length, is_encoder_decoder=False, label_pad_token_id=-100, padding_value=0)
        me.build_tokenized_answer = lambda prompt, answer, me=me, trainer=trainer: trainer.build_tokenized_answer(me, prompt, answer)
        given = maybe_apply_chat_template({**row, **maybe_extract_prompt(copy.deepcopy(row))}, tokenizer)
        try:
            made = trainer.tokenize_row(me, given)
        except ValueError as error:
            out.append(str(error))
            continue
        out.append(
            [{"ids": made[f"{k}_input_ids"], "prompt": sum(label == -100 for label in made[f"{k}_labels"])} for k in ("chosen", "rejected")]
        )
    assert out[0] == out[1]
    return out[0]


def kto(tokenizer, rows, block, max_length=None):
    made = prepared(KTOTrainer, tokenizer, rows, max_length=max_length, per_device_train_batch_size=block)
    batch = DataCollatorForUnpairedPreference(pad_token_id=0, max_length=max_length)(made)
    return {"own": sequences(batch), "kl": sequences(batch, "KL_"), "labels": batch["label"].tolist()}


def advice(tokenizer, desirable, undesirable, *weights):
    """The ranges that KTOTrainer recommends for its weights; null: it says nothing."""
    rows = [{"prompt": "a", "completion": "b", "label": i < desirable} for i in range(desirable + undesirable)]
    said = []
    with patch.object(kto_trainer.logger, "warning", said.append):
        prepared(KTOTrainer, tokenizer, rows, weights, per_device_train_batch_size=4)
    found = [float(x) for x in re.findall(r"[\d.]+(?=[,\]])", said[0].split("recommend")[1])] if said else None
    return {"desirable": desirable, "undesirable": undesirable, "weights": weights, "ranges": found}


def grpo(tokenizer, prompt, **kwargs):
    me = SimpleNamespace(
        processing_class=tokenizer, _is_vlm=False, environment_factories=None, tools=None, chat_template=None, chat_template_kwargs=kwargs
    )
    return GRPOTrainer._tokenize_prompts(me, [prompt])[0][0]


def tokenizers():
    for name in ("bpe-llama3", "bpe-qwen2", "bpe-bytefallback", "unigram-bytefallback"):
        yield name, lambda name=name, **more: wrapped(load(name), **more)
    yield STORIES, lambda **more: with_template(AutoTokenizer.from_pretrained(SHARED / "models/stories260k"), **more)


def with_template(tokenizer, chat_template=None):
    if chat_template:
        tokenizer.chat_template = chat_template
    return tokenizer


def main():
    if not (SHARED / "models/stories260k").exists():
        print(f"  skipped: no {STORIES}")
        return
    disable_progress_bars()
    cases = []

    def case(name, row, tokenizer, make, chat_template=None, cut=(), **more):
        python = make(chat_template=chat_template) if chat_template else make()
        outputs = {"dpo": dpo(python, row), "reward": reward(python, row), "cpo": cpo(python, row)}
        longest = max(len(s["ids"]) for s in outputs["dpo"])
        shortest = outputs["dpo"][0]["prompt"]
        lengths = sorted({n for n in (shortest, shortest + 1, longest - 1) if n > 0}) if cut else []
        outputs["cut"] = [
            {
                "maxLength": n,
                "dpo": dpo(python, row, n),
                "keepEnd": dpo(python, row, n, "keep_end"),
                "reward": reward(python, row, n),
                "cpo": cpo(python, row, n),
            }
            for n in lengths
        ]
        cases.append({"name": f"{name}, {tokenizer}", "tokenizer": tokenizer, "chatTemplate": more.get("template"), "row": row, **outputs})

    groups, prompts = [], []
    for tokenizer, make in tokenizers():
        for name, row in PLAIN.items():
            case(name, row, tokenizer, make, cut=name in ("digits", "a space before the answers", "merges with one answer"))
        for name, row in IMPLICIT.items():
            case(f"implicit: {name}", row, tokenizer, make)
        for name, row in IMPLICIT_WRONG.items():
            case(f"TRL's: {name}", row, tokenizer, make, cut=False)
            cases[-1]["isOther"] = True
        prompts.append({"tokenizer": tokenizer, "prompt": "Say it now ", "ids": grpo(make(), "Say it now ")})
        rows = [{"prompt": p, "completion": c, "label": i % 3 != 1} for i, (p, c) in enumerate(
            [("Which word", " is good"), ("Say ", "it"), ("hel", "lo"), ("The year 12", "34 was good."), ("", "yes")]
        )]
        for block in (1, 2, 5):
            for max_length in (None, 9):
                groups.append({"tokenizer": tokenizer, "rows": rows, "block": block, "maxLength": max_length, **kto(make(), rows, block, max_length)})
        pairs = [PLAIN["digits"], PLAIN["merges with one answer"], PLAIN["an empty answer"]]
        groups.append({"tokenizer": tokenizer, "rows": pairs, "block": 6, "maxLength": None, **kto(make(), pairs, 6)})
    chats = [("bpe-llama3", "llama3"), ("bpe-llama3", "chatml"), ("bpe-qwen2", "qwen2_5"), ("bpe-qwen2", "qwen3"), ("bpe-bytefallback", "mistral"), ("unigram-bytefallback", "gemma")]
    makers = dict(tokenizers())
    for tokenizer, name in chats:
        source = template(name)
        python = makers[tokenizer](chat_template=source)
        tooled = TOOLED if name == "qwen3" else {}
        for title, row in {**CHATS, **tooled}.items():
            if title in WITHOUT.get(name, []):
                continue
            case(f"{title}, {name}", row, tokenizer, makers[tokenizer], source, cut=title == "one turn", template=name)
        for prompt in (TURN, [u("one"), a("two"), u("three")]):
            prompts.append({"tokenizer": tokenizer, "chatTemplate": name, "prompt": prompt, "ids": grpo(python, prompt)})
        rows = [{"prompt": TURN, "completion": [a(c)], "label": c != "Air."} for c in ("Light.", "Air.", "Me and you.")]
        groups.append({"tokenizer": tokenizer, "chatTemplate": name, "rows": rows, "block": 3, "maxLength": None, **kto(python, rows, 3)})
    for title, row in CHATS.items():  # its own template ends a prompt with a space, which merges with the answer
        case(f"{title}, its own template", row, STORIES, makers[STORIES], cut=title == "one turn", template="its own")
    extracted = [
        {"name": name, "row": row, "output": extract_prompt(copy.deepcopy(row))}
        for name, row in [*IMPLICIT.items(), *IMPLICIT_WRONG.items(), *((k, v) for k, v in CHATS.items() if "prompt" not in v)]
    ]
    pairs = [{"prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}", "by": i} for i in range(1005)]
    order = [r["completion"] for r in unpair_preference_dataset(Dataset.from_list(pairs))]
    runs = []  # runs of one letter: [letter, first, count]
    for text in order:
        if runs and runs[-1][0] == text[0]:
            runs[-1][2] += 1
        else:
            runs.append([text[0], int(text[1:]), 1])
    plain = wrapped(load("bpe-llama3"))
    advised = [
        advice(plain, *case)
        for case in [(3, 3, 1.0, 1.0), (4, 3, 1.0, 1.0), (1, 7, 1.0, 1.0), (7, 2, 1.0, 1.0), (7, 2, 0.3, 1.0), (3, 4, 1.33, 1.0), (5, 0, 1.0, 1.0), (9, 4, 1.0, 2.5)]
    ]
    print(f"  {len(cases)} rows, {len(groups)} groups")
    write_row(72, "align-rows", "preference rows as TRL tokenises them", E, cases, extracted=extracted, unpaired=runs, kto=groups, prompts=prompts, advice=advised)


if __name__ == "__main__":
    main()
