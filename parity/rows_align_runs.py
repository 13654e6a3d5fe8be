"""Rows 71, 75, 78, 85: whole runs of TRL's DPO, KTO, ORPO, CPO and reward trainers, every logged metric kept.

On a tiny Llama whose folder is written here, and on stories260k (numbers only). Order is that of the rows; no dropout.
A run is {name, trainer, args, rows, adapter?, reference?, trace}: args in camelCase, trace by metric, one number each update.
"""

import json
import math
import random
import re
import tempfile

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM,
                          LlamaForSequenceClassification, PrinterCallback)
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from common import FIXTURES, HERE, SHARED, SHARED_NAME, VERSIONS, fresh_folder, seed, write_json
from tiny import shake

FOLDER = "align-runs"
TOKENIZER = "bpe-llama3"
TINY = dict(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=400,
            max_position_embeddings=256, rms_norm_eps=1e-5, initializer_range=0.1, bos_token_id=0, eos_token_id=1, pad_token_id=3)
TRAINERS = {"DPO": (DPOConfig, DPOTrainer), "KTO": (KTOConfig, KTOTrainer), "ORPO": (ORPOConfig, ORPOTrainer), "CPO": (CPOConfig, CPOTrainer),
            "Reward": (RewardConfig, RewardTrainer)}
LORA = dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
TOLERANCE = {"reference": {"loss": 1e-4, "gradNorm": 1e-3}, "device": {"loss": 1e-3, "gradNorm": 1e-2}, "metrics": 1e-3, "floor": 0.1}


# ---- rows

WORDS = "the old mother must find a house near her father and give him many hot answers which follow great change about land before day".split()


def sentence(count):
    return " ".join(random.choice(WORDS) for _ in range(count))


def pairs(count, prompt=(3, 8), chosen=(2, 7), rejected=(2, 7)):
    """Plain pairs of random lengths; answers begin with a space, so that no token crosses the boundary."""
    return [{"prompt": sentence(random.randint(*prompt)), "chosen": " " + sentence(random.randint(*chosen)), "rejected": " " + sentence(random.randint(*rejected))}
            for _ in range(count)]


def even_pairs(tok, count, prompt=12, answer=9):
    """Pairs with as many tokens in each prompt, and in each answer with its end: means of means are means."""
    def text_of(start, length, counts):
        while True:
            text = sentence(random.randint(*counts))
            if len(tok(start + text)["input_ids"]) == length:
                return text

    found = []
    for _ in range(count):
        row = {"prompt": text_of("", prompt, (4, 8))}
        ends = prompt + answer - 1
        found.append({**row, **{key: " " + text_of(row["prompt"] + " ", ends, (2, 6)) for key in ("chosen", "rejected")}})
    return found


def chat(row):
    say = lambda role, content: [{"role": role, "content": content.strip()}]
    return {"prompt": say("user", row["prompt"]), "chosen": say("assistant", row["chosen"]), "rejected": say("assistant", row["rejected"])}


def unpaired(rows, labels):
    return [{"prompt": row["prompt"], "completion": row["chosen" if label else "rejected"], "label": label} for row, label in zip(rows, labels)]


def row_sets(tok):
    seed(71)
    plain = pairs(24)
    even = even_pairs(tok, 24)
    merging = [{"prompt": row["prompt"] + " ", **{key: row[key].strip() for key in ("chosen", "rejected")}} for row in pairs(16)]
    merging[2]["rejected"] = "(" + merging[2]["rejected"] + ")"  # one answer merges with the prompt's end, the other does not
    implicit = [{key: row["prompt"] + row[key] for key in ("chosen", "rejected")} for row in pairs(16)]
    for row in implicit:  # answers whose first characters differ, so that TRL's split is at the word
        row["rejected"] = row["rejected"].strip()
    return {
        "plain": plain,
        "even": even,
        "chat": [chat(row) for row in pairs(16)],
        "merging": merging,
        "long": pairs(16, (3, 26), (4, 20), (4, 20)),
        "longAnswers": pairs(16, (3, 8), (4, 30), (4, 30)),
        "unpaired": unpaired(plain, [i % 3 != 0 for i in range(24)]),
        "unpairedEven": unpaired(even, [i % 2 == 0 for i in range(24)]),
        "unpairedChat": unpaired([chat(row) for row in pairs(16)], [i % 4 != 0 for i in range(16)]),
        "oneClass": unpaired(plain[:16], [i < 4 or i % 2 == 0 for i in range(16)]),
        "margins": [{**row, "margin": round(random.random() * 2, 3)} for row in pairs(16)],
    }


# ---- the model

def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def write_model():
    """The tiny Llama with its tokenizer, a classifier of the same shape, and two adapters: as PEFT starts, and with random numbers."""
    folder = fresh_folder(FOLDER)
    source = FIXTURES / "tokenizers" / TOKENIZER
    for name in ("base", "classifier"):
        (folder / name).mkdir()
        (folder / name / "tokenizer.json").write_text((source / "tokenizer.json").read_text(encoding="utf-8"), encoding="utf-8")
        template = (HERE / "chat_templates" / "chatml.jinja").read_text(encoding="utf-8")
        config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<|eot_id|>", "chat_template": template}
        (folder / name / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    seed(71)
    shake(LlamaForCausalLM(LlamaConfig(**TINY, tie_word_embeddings=False))).save_pretrained(folder / "base")
    seed(72)
    classifier = shake(LlamaForSequenceClassification(LlamaConfig(**TINY, num_labels=1)))
    torch.nn.init.normal_(classifier.score.weight, std=0.2)
    classifier.save_pretrained(folder / "classifier")
    for name, scale in (("adapter", 0.0), ("trained", 0.2)):
        seed(73)
        model = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", **LORA))
        for key, p in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(p, std=scale) if scale else None
        save_adapter(model, folder / name, f"{FOLDER}/base")
    for path in (folder / "base", folder / "classifier"):
        config = json.loads((path / "config.json").read_text())
        config.pop("_name_or_path", None)
        (path / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return folder


def base(path=None):
    return AutoModelForCausalLM.from_pretrained(path or FIXTURES / FOLDER / "base", dtype=torch.float32, attn_implementation="eager")


def save_adapter(model, folder, base_name):
    """As PEFT saves it, without a path of this machine."""
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


# ---- a run

def camel(name):
    return re.sub(r"_([a-z])", lambda m: m.group(1).upper(), name)


def run(name, kind, rows, data, adapter=None, evaluated=None, path=None, steps=8, note=None, **given):
    """One run of TRL. `adapter`: 'adapter' starts LoRA where PEFT does (reference: adapters off), 'trained' is a model that came with one.
    `evaluated`: name of a set, and its first rows that are evaluated at the end."""
    config, trainer_class = TRAINERS[kind]
    given = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, **given}
    quiet = dict(use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1,
                 dataloader_pin_memory=False, seed=0, train_sampling_strategy="sequential", per_device_eval_batch_size=given["per_device_train_batch_size"])
    args = config(output_dir=tempfile.mkdtemp(prefix="parity-"), max_steps=steps, **quiet, **given)
    folder = FIXTURES / FOLDER
    tok = tokenizer(path or folder / ("classifier" if kind == "Reward" else "base"))
    if tok.pad_token is None:
        tok.pad_token = tok.eos_token
    if kind == "Reward":
        model = AutoModelForSequenceClassification.from_pretrained(folder / "classifier", dtype=torch.float32, attn_implementation="eager")
    else:
        model = base(path)
    more = {}
    start = folder / adapter if adapter else None
    if adapter in ("adapter", "stories-adapter"):
        more["peft_config"] = LoraConfig.from_pretrained(start)
        more["peft_config"].inference_mode = False
    elif adapter:
        model = PeftModel.from_pretrained(model, start, is_trainable=True)
    if evaluated:
        more["eval_dataset"] = Dataset.from_list(evaluated[1])
    trainer = trainer_class(model=model, args=args, train_dataset=Dataset.from_list(data), processing_class=tok, **more)
    if "peft_config" in more:  # start from the adapter that was saved, not from what this trainer drew
        saved = get_peft_model_state_dict(PeftModel.from_pretrained(base(path), start))
        set_peft_model_state_dict(trainer.model, saved)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == steps, (name, len(logs))
    assert all(math.isfinite(value) for entry in logs for value in entry.values()), name
    keys = sorted({key for entry in logs for key in entry} - {"step", "epoch"})
    trace = {key: [entry.get(key) for entry in logs] for key in keys}
    found = {"name": name, "trainer": f"{kind}Trainer", "rows": rows, "args": {"maxSteps": steps, **{camel(key): value for key, value in given.items()}}}
    if adapter:
        found["adapter"] = adapter
        found["reference"] = "off" if "peft_config" in more else "initial"
    if note:
        found["note"] = note
    found["trainRows"] = len(trainer.train_dataset)
    found["trace"] = trace
    if evaluated:
        found["evalRows"] = {"rows": evaluated[0], "count": len(evaluated[1])}
        found["evaluation"] = {key: value for key, value in trainer.evaluate().items() if not re.search("runtime|per_second|epoch", key)}
    print(f"  {name}: loss {trace['loss'][0]:.5f} -> {trace['loss'][-1]:.5f}, grad norm {trace['grad_norm'][0]:.4f}")
    return found


LOSSES = ["hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"]
EVEN = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 3}


def dpo_runs(sets):
    def dpo(name, rows="plain", **given):
        return run(f"dpo-{name}", "DPO", rows, sets[rows], **given)

    runs = [
        dpo("sigmoid", steps=20, adapter="adapter", evaluated=("even", sets["even"][:8])),
        dpo("sigmoid-full", steps=12, learning_rate=3e-4, evaluated=("even", sets["even"][:8])),
        dpo("initial", steps=8, adapter="trained"),
        dpo("chat", "chat", adapter="adapter"),
        dpo("chat-full", "chat", learning_rate=3e-4),
        dpo("merging", "merging", adapter="adapter"),
        dpo("truncated", "long", adapter="adapter", max_length=24),
        dpo("windows", "even", steps=12, adapter="adapter", **EVEN),
        dpo("windows-unequal", "plain", adapter="adapter", **EVEN, note="unequal counts: metrics of tokens are means of means"),
        dpo("short-window", "even", steps=8, adapter="adapter", gradient_accumulation_steps=3, per_device_train_batch_size=3,
            note="8 batches an epoch: the third window has 2 micro-batches"),
        dpo("precomputed", adapter="adapter", precompute_ref_log_probs=True),
        dpo("precomputed-full", learning_rate=3e-4, precompute_ref_log_probs=True),
        dpo("beta", adapter="adapter", beta=0.5, learning_rate=5e-3, lr_scheduler_type="cosine", warmup_steps=2, weight_decay=0.01, max_grad_norm=0.5),
        dpo("mpo", adapter="adapter", loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0]),
        dpo("wpo", adapter="adapter", use_weighting=True),
        dpo("wpo-full", learning_rate=3e-4, use_weighting=True, loss_type=["ipo"]),
        dpo("ld", adapter="adapter", ld_alpha=0.3),
        dpo("ld-precomputed", adapter="adapter", ld_alpha=0.3, precompute_ref_log_probs=True),
        *[dpo(f"{divergence}", adapter="adapter", f_divergence_type=divergence, learning_rate=5e-3) for divergence in ("forward_kl", "js_divergence", "alpha_divergence")],
        dpo("alpha-2-ipo", adapter="adapter", f_divergence_type="alpha_divergence", f_alpha_divergence_coef=2.0, loss_type=["ipo"], learning_rate=5e-3),
        dpo("ipo-full", learning_rate=3e-4, loss_type=["ipo"]),
        dpo("robust-windows", "even", adapter="adapter", loss_type=["robust"], label_smoothing=0.2, **EVEN),
    ]
    for loss in LOSSES:
        smoothing = {"exo_pair": 1e-3, "robust": 0.1, "aot": 0.1}.get(loss, 0.0)
        runs.append(dpo(loss, adapter="trained" if loss in ("nca_pair", "aot") else "adapter", loss_type=[loss], learning_rate=5e-3,
                        **({"label_smoothing": smoothing} if smoothing else {})))
    return runs


def kto_runs(sets):
    def kto(name, rows="unpaired", **given):
        return run(f"kto-{name}", "KTO", rows, sets[rows], **given)

    return [
        kto("unpaired", steps=18, adapter="adapter", learning_rate=5e-3, evaluated=("unpairedEven", sets["unpairedEven"][:8])),
        kto("full", learning_rate=3e-4),
        kto("initial", adapter="trained"),
        kto("paired", "plain", steps=12, adapter="adapter", note="pairs are unpaired: all chosen answers, then all rejected ones"),
        kto("chat", "unpairedChat", adapter="adapter"),
        kto("weights", adapter="adapter", desirable_weight=1.5, undesirable_weight=0.7, beta=0.3, learning_rate=5e-3),
        kto("windows", "unpairedEven", adapter="adapter", gradient_accumulation_steps=2, learning_rate=5e-3),
        kto("one-class", "oneClass", steps=4, adapter="adapter", note="the first batch has desirable answers only"),
        kto("apo", adapter="adapter", loss_type="apo_zero_unpaired", learning_rate=5e-3),
        kto("apo-full", "unpairedEven", loss_type="apo_zero_unpaired", learning_rate=3e-4, per_device_train_batch_size=1),
        kto("precomputed", adapter="adapter", precompute_ref_log_probs=True),
    ]


def free_runs(sets):
    """Without a reference."""
    def orpo(name, rows="plain", **given):
        return run(f"orpo-{name}", "ORPO", rows, sets[rows], **{"adapter": "adapter", **given})

    def cpo(name, rows="plain", **given):
        return run(f"cpo-{name}", "CPO", rows, sets[rows], **{"adapter": "adapter", **given})

    simpo = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.5, "simpo_gamma": 1.375}
    return [
        orpo("plain", steps=16, evaluated=("even", sets["even"][:8])), orpo("full", adapter=None, learning_rate=3e-4), orpo("windows", "even", **EVEN), orpo("merging", "merging"),
        orpo("chat", "chat"), orpo("beta", beta=0.5, learning_rate=5e-3), orpo("truncated", "longAnswers", max_length=40),
        cpo("sigmoid", steps=16, evaluated=("even", sets["even"][:8])), cpo("full", adapter=None, learning_rate=3e-4), cpo("smoothed", label_smoothing=0.2, cpo_alpha=0.0),
        cpo("hinge", loss_type="hinge", learning_rate=5e-3), cpo("ipo", loss_type="ipo", cpo_alpha=0.5), cpo("windows", "even", **EVEN),
        cpo("merging", "merging"), cpo("chat", "chat"), cpo("truncated", "longAnswers", max_length=40),
        cpo("simpo", steps=16, **simpo), cpo("simpo-full", adapter=None, **{**simpo, "learning_rate": 3e-4}), cpo("simpo-windows", "even", **EVEN, **simpo),
        cpo("simpo-trl", loss_type="simpo"), cpo("alphapo", alpha=0.25, **simpo), cpo("alphapo-full", adapter=None, alpha=-0.1, **{**simpo, "learning_rate": 3e-4}),
        cpo("alpha-sigmoid", "even", alpha=0.05, beta=0.2),
    ]


def reward_runs(sets):
    def reward(name, rows="plain", **given):
        return run(f"reward-{name}", "Reward", rows, sets[rows], **{"learning_rate": 3e-4, **given})

    return [
        reward("plain", steps=16, evaluated=("even", sets["even"][:8])), reward("margin", "margins"), reward("centred", center_rewards_coefficient=0.01),
        reward("margin-centred", "margins", center_rewards_coefficient=0.1), reward("chat", "chat"), reward("windows", "even", **EVEN),
        reward("filtered", "longAnswers", max_length=56, note="rows above maxLength are left out"),
        reward("pad-is-eos", pad_token="</s>", note="transformers pools at the last id that is not the padding id, so the EOS is skipped"),
    ]


def stories_pairs(count=64):
    lines = (SHARED / "datasets" / "nl2bash" / "preference.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [{key: json.loads(line)[key] for key in ("prompt", "chosen", "rejected")} for line in lines]


def stories_runs():
    path = SHARED / "models" / "stories260k"
    seed(74)
    model = get_peft_model(base(path), LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    save_adapter(model, FIXTURES / FOLDER / "stories-adapter", f"{SHARED_NAME}/models/stories260k")
    rows = stories_pairs()
    more = dict(path=path, adapter="stories-adapter", max_length=160)
    return [
        run("stories-dpo", "DPO", "preference", rows, steps=12, **more),
        run("stories-dpo-full", "DPO", "preference", rows, **{**more, "adapter": None, "learning_rate": 1e-4}),
        run("stories-ipo", "DPO", "preference", rows, loss_type=["ipo"], **more),
        run("stories-kto", "KTO", "preference", rows, **more),
        run("stories-orpo", "ORPO", "preference", rows, **more),
        run("stories-simpo", "CPO", "preference", rows, loss_type="simpo", cpo_alpha=0.0, beta=2.5, simpo_gamma=1.375, **more),
    ]


CONVENTIONS = {
    "order": "rows in the order of the file, repeated",
    "loss, grad_norm": "as logged: the mean over micro-batches of the mean over pairs (rows for KTO), the norm before clipping",
    "metrics": "as logged: means over micro-batches of means. logits/* of ORPO and CPO are means over all positions, prompts and padding included",
    "adapter": "folder of the adapter that the run starts from; reference 'off': the base, 'initial': a frozen copy of that adapter",
    "trainRows": "rows (answers for KTO) that TRL kept",
}


def write(file, runs, **more):
    write_json(f"{FOLDER}/{file}.json", {"versions": VERSIONS, "tolerance": TOLERANCE, "conventions": CONVENTIONS, "lora": LORA, **more, "runs": runs})


def main():
    disable_progress_bars()
    stories = FIXTURES / FOLDER / "stories.json"
    kept = {path.name: path.read_bytes() for path in [stories, *(FIXTURES / FOLDER / "stories-adapter").glob("*")] if path.exists()}
    folder = write_model()
    sets = row_sets(tokenizer(folder / "base"))
    write_json(f"{FOLDER}/rows.json", sets)
    write("dpo", dpo_runs(sets))
    write("kto", kto_runs(sets))
    write("referenceFree", free_runs(sets))
    write("reward", reward_runs(sets))
    if (SHARED / "models" / "stories260k").is_dir():
        write("stories", stories_runs(), base=f"{SHARED_NAME}/models/stories260k", dataset=f"{SHARED_NAME}/datasets/nl2bash/preference.jsonl, first 64 lines in file order",
              lora=dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
        return
    print(f"  no {SHARED_NAME}/models/stories260k: runs skipped, their fixtures kept")
    (folder / "stories-adapter").mkdir()
    for name, data in kept.items():
        (folder / ("" if name == "stories.json" else "stories-adapter") / name).write_bytes(data)
