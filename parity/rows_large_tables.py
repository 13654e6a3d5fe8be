"""A Qwen2 of the 0.5B shape with numbers that any language makes alike: losses of three LoRA updates, greedy ids.

No weights are stored. Number i of a tensor is `(2 (hash(i, FNV-1a of its name) >> 25) - 127) 2^-12`: 128 levels, exact
in bfloat16, deviation 0.0179. Norms are 1, B of an adapter is 0.
"""

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from common import VERSIONS, write_json

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "bfloat16",
    "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "hidden_act": "silu", "tie_word_embeddings": True, "use_sliding_window": False,
    "bos_token_id": 151643, "eos_token_id": 151643,
}
RANK, RATE, UPDATES, LENGTH, NEW = 8, 1e-3, 3, 16, 8
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def hashed(name, shape):
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    h = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1) ^ np.uint32(seed)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x85EBCA77)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(16)
    levels = (h >> np.uint32(25)).astype(np.float32) * 2 - 127
    return torch.from_numpy(levels / 4096).reshape(shape)


def fill(model, skip=()):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1)
            elif not any(part in name for part in skip):
                parameter.copy_(hashed(name, tuple(parameter.shape)))


def rows():
    return [[(r * 70001 + i * 9973) % 151000 for i in range(LENGTH)] for r in range(UPDATES)]


def model_of(layers):
    model = Qwen2ForCausalLM(Qwen2Config(**{**CONFIG, "num_hidden_layers": layers, "dtype": "float32"}))
    fill(model)
    return model.eval()


def losses(model):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0)
    out = []
    for row in rows():
        ids = torch.tensor([row])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        out.append(loss.item())
    return out


def main():
    model = model_of(24)
    prompt = torch.tensor([rows()[0][:5]])
    with torch.no_grad():
        made = model.generate(prompt, max_new_tokens=NEW, do_sample=False, output_logits=True, return_dict_in_generate=True)
    top = torch.stack(made.logits).topk(2).values
    greedy = made.sequences[0, prompt.shape[1]:].tolist()
    adapted = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=16, target_modules=LINEAR))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name:  # as in an adapter file
                parameter.copy_(hashed(name.replace(".default", ""), tuple(parameter.shape)))
    lora = losses(adapted)
    del model, adapted
    full = losses(model_of(1))
    print(f"  losses {lora}, of one layer {full}; greedy {greedy}, margin {(top[..., 0] - top[..., 1]).min():.4f}")
    write_json("large-tables.json", {
        "case": "a 151,936 x 896 table: three updates of LoRA, three full ones of a single layer, greedy tokens", "versions": VERSIONS,
        "conventions": {"weights": "see parity/rows_large_tables.py; the adapter's A by its name in an adapter file", "losses": "float32 arithmetic on bfloat16 weights; AdamW, no decay, norm clipped at 1"},
        "config": CONFIG, "lora": {"r": RANK, "alpha": 16, "targetModules": LINEAR}, "learningRate": RATE, "rows": rows(),
        "loraLosses": lora, "fullLossesOfOneLayer": full, "prompt": prompt[0].tolist(), "greedy": greedy,
    })
