"""Rows 49, 50: prefix tuning, prompt tuning and P-tuning as PEFT has them, in the form of the other methods: logits and gradients
of the tokens, greedy text, 20 updates by transformers.Trainer.
"""

import json

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from common import fresh_folder, seed
from rows_adapters import randomise
from rows_lora_runs import save_adapter
from rows_methods import BASES, record
from tiny import load

COMMON = dict(task_type="CAUSAL_LM", num_virtual_tokens=3)

PROMPTS = {
    "prompt-tuning": lambda: PromptTuningConfig(**COMMON),
    "p-tuning-mlp": lambda: PromptEncoderConfig(**COMMON, encoder_hidden_size=8),
    "p-tuning-lstm": lambda: PromptEncoderConfig(**COMMON, encoder_reparameterization_type="LSTM", encoder_hidden_size=6),
    "prefix-tuning": lambda: PrefixTuningConfig(**COMMON),
    "prefix-tuning-projection": lambda: PrefixTuningConfig(**COMMON, prefix_projection=True, encoder_hidden_size=8),
}


def main():
    for key, config in PROMPTS.items():
        for family, base in BASES.items():
            name = f"{key}-{family}"
            folder = fresh_folder(f"methods/{name}")
            seed(49)
            model = get_peft_model(load(base), config())
            randomise(model)
            save_adapter(model, folder)
            encoder = model.prompt_encoder["default"]
            if len(list(encoder.parameters())) > 1:  # PEFT saves what it gives alone; the run begins with all of it
                save_file({f"prompt_encoder.{n}": p.detach().clone() for n, p in encoder.named_parameters()}, folder / "prompt_encoder.safetensors")
            model.eval()
            prompt = torch.randint(3, model.config.vocab_size, (1, 6))
            text = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
            record(name, base, model, {"config": json.loads((folder / "adapter_config.json").read_text()),
                                       "greedy": {"prompt": prompt[0].tolist(), "sequence": text[0].tolist()},
                                       "saved": {k: list(v.shape) for k, v in load_file(folder / "adapter_model.safetensors").items()}})
