"""Prompt tuning and prefix tuning under sliding windows: logits after single prompts shorter and longer than the window, and greedy text, as PEFT computes them."""

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json, write_tensors
from rows_adapters import randomise
from rows_lora_runs import save_adapter

FAMILIES = ["tiny-mistral", "tiny-gemma2", "tiny-gemma3", "tiny-qwen2-window"]
KINDS = {"prompt": PromptTuningConfig, "prefix": PrefixTuningConfig}
NEW = 8


def prompt(length):
    return [3 + ((t * 3 + 3) % 50) for t in range(length)]


def main():
    fresh_folder("prompt-windows")
    texts = {}
    for family in FAMILIES:
        for kind, config in KINDS.items():
            seed(3)
            model = AutoModelForCausalLM.from_pretrained(FIXTURES / family, dtype=torch.float32, attn_implementation="eager").eval()
            model.name_or_path = model.config._name_or_path = family
            window = model.config.sliding_window
            model = get_peft_model(model, config(task_type="CAUSAL_LM", num_virtual_tokens=4))
            randomise(model)
            model.eval()
            name = f"{family}-{kind}"
            (FIXTURES / "prompt-windows" / name).mkdir()
            save_adapter(model, FIXTURES / "prompt-windows" / name)
            logits = {}
            for length in (3, window - 4, window + 3, 2 * window + 5):
                ids = torch.tensor([prompt(length)])
                mask = torch.ones_like(ids)
                with torch.no_grad():
                    logits[f"logits.{length}"] = model(input_ids=ids, attention_mask=mask).logits[0, -1]
                text = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0)
                texts.setdefault(name, {})[str(length)] = text[0].tolist()
            write_tensors(f"prompt-windows/{name}/expected.safetensors", logits)
    write_json("prompt-windows/texts.json", {"versions": VERSIONS, "newTokens": NEW, "texts": texts})
