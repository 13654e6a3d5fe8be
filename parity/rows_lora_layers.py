"""Row 41: LoRA on embeddings, on an untied output head and on the Conv1D layers of GPT-2: logits, gradients, merge,
files, 20 updates. The folders lie beside those of the other methods."""

import copy
import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from common import fresh_folder, seed
from rows_adapters import randomise
from rows_methods import record
from tiny import load

# GPT-2 has dropout of its own, whose masks cannot be compared.
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}

CASES = {
    "lora-embedding-llama": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj", "lm_head"])),
    "lora-embedding-qwen2-tied": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "v_proj"], use_rslora=True)),
    "lora-embedding-gemma-scaled": ("tiny-gemma", dict(r=2, lora_alpha=1, target_modules=["embed_tokens"], rank_pattern={"embed_tokens": 3})),
    "lora-embedding-dora": ("tiny-llama", dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "down_proj"], use_dora=True)),
    "lora-conv1d": ("tiny-gpt2", dict(r=4, lora_alpha=8, target_modules=["c_attn"], fan_in_fan_out=True)),
    "lora-conv1d-embeddings": ("tiny-gpt2", dict(r=4, lora_alpha=8, target_modules=["wte", "wpe", "c_proj"], fan_in_fan_out=True)),
}


def main():
    for name, (base, options) in CASES.items():
        folder = fresh_folder(f"methods/{name}")
        seed(41)
        plain = load(base)
        changes = NO_DROPOUT if "gpt2" in base else {}
        for module in plain.modules():
            if isinstance(module, torch.nn.Dropout) and changes:
                module.p = 0.0
        model = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", **options))
        randomise(model)
        # Without the base's own embedding, which PEFT would write beside an adapter of it.
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        ids = torch.randint(3, 128, (2, 9))
        with torch.no_grad():
            adapted = model.eval()(input_ids=ids).logits
            merged = copy.deepcopy(model).merge_and_unload()(input_ids=ids).logits
        worst = (adapted - merged).abs().max().item()
        # A tied head gets the embedding's change when it is merged: PEFT's merged model is another function.
        tied = plain.config.tie_word_embeddings and any("emb" in t or t == "wte" for t in options["target_modules"])
        assert (worst > 1e-2) if tied else (worst < 1e-4), (name, worst)
        saved = {k: list(v.shape) for k, v in load_file(folder / "adapter_model.safetensors").items()}
        extra = {"config": json.loads((folder / "adapter_config.json").read_text()), "saved": saved,
                 "mergedLogitsMaxDifference": worst, "canBeMerged": not tied, "baseChanges": changes}
        record(name, base, model, extra)
