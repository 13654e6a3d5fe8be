"""A model of the shape of Qwen2.5-0.5B: first updates of LoRA in bfloat16 and NF4, and what it generates greedily;
first updates of all weights where it has one layer.

Nobody commits a gigabyte, so its weights follow from a rule of a few lines that the tests repeat: element i of tensor
`name` is table[mix(i + fnv1a(name)) >> 16] (see `hashed`). Weights are rounded to bfloat16 and computed with in float32.
"""

import gc

import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from common import VERSIONS, write_json
from recording import TRACE, arguments, settings, train

CONFIG = dict(
    vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
    num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, bos_token_id=151643, eos_token_id=151645,
)
STD = {"embed_tokens.weight": 0.02, "lora_A.weight": 0.03, "weight": 0.05, "bias": 0.1}
LORA = dict(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
UPDATES, ROWS, LENGTH = 3, 2, 32


def fnv1a(name):
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def mix(x):
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def hashed(name, shape, std, dtype=torch.bfloat16):
    """Even between -sqrt(3) std and sqrt(3) std, in 65,536 steps."""
    steps = (np.arange(65536) - 32767.5) / 32768
    table = torch.tensor(steps * (np.sqrt(3.0) * std), dtype=torch.float32).to(dtype)
    count = int(np.prod(shape))
    out = torch.empty(count, dtype=dtype)
    for begin in range(0, count, 1 << 24):
        end = min(begin + (1 << 24), count)
        x = np.arange(begin, end, dtype=np.uint32) + np.uint32(fnv1a(name))
        out[begin:end] = table[torch.from_numpy((mix(x) >> np.uint32(16)).astype(np.int64))]
    return out.reshape(shape)


def std_of(name):
    return next(std for end, std in STD.items() if name.endswith(end))


def build(layers=CONFIG["num_hidden_layers"]):
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**{**CONFIG, "num_hidden_layers": layers}))
    model = model.to_empty(device="cpu")
    model.tie_weights()
    rotary = model.model.rotary_emb  # buffers of a model made on "meta" are empty
    rotary.__init__(model.config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.fill_(1)
            else:
                p.copy_(hashed(name, p.shape, std_of(name)))
    return model.eval()


def rows():
    """Ids that follow from the rule, too: of no sense, so that the first loss is near ln(vocabulary)."""
    x = np.arange(UPDATES * ROWS * LENGTH, dtype=np.uint32) + np.uint32(fnv1a("rows"))
    ids = (mix(x) % np.uint32(151643)).astype(np.int64).reshape(-1, LENGTH).tolist()
    return [{"input_ids": row, "labels": row} for row in ids]


def quantize(model):
    """Each linear layer but the head as bitsandbytes has it in NF4 with double quantisation, multiplied out in float32."""
    for path, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and path != "lm_head":
            codes, state = quantize_4bit(layer.weight.data, quant_type="nf4", compress_statistics=True)
            layer.weight.data = dequantize_4bit(codes, state).float()


def run(model):
    prompt = torch.tensor([rows()[0]["input_ids"][:8]])
    generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        top = model(generated).logits[0, 7:-1].topk(2).values
    model.config.name_or_path = model.config._name_or_path = "qwen2.5-0.5b-shape"
    model = get_peft_model(model, LoraConfig(**LORA))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_A" in name:
                p.copy_(hashed(name.replace(".default", ""), p.shape, STD["lora_A.weight"], torch.float32))
    args = arguments(max_steps=UPDATES, per_device_train_batch_size=ROWS, learning_rate=2e-3, lr_scheduler_type="constant")
    trace, trainer = train(model, rows(), args)
    return {
        "prompt": prompt[0].tolist(), "greedy": generated[0, 8:].tolist(),
        "smallestGap": (top[:, 0] - top[:, 1]).min().item(),
        "settings": settings(args, trainer) | {"decayGroups": None}, "trace": trace,
    }


def run_in_full(model):
    """All weights learn, the tied tables too."""
    args = arguments(max_steps=UPDATES, per_device_train_batch_size=ROWS, learning_rate=1e-3, lr_scheduler_type="constant")
    trace, trainer = train(model, rows(), args)
    return {"settings": settings(args, trainer) | {"decayGroups": None}, "trace": trace}


def main():
    torch.set_num_threads(2)
    cases = {}
    for name, change in (("bfloat16", lambda model: None), ("nf4", quantize)):
        model = build()
        change(model)
        cases[name] = run(model)
        print(f"  {name}: {[round(e['loss'], 5) for e in cases[name]['trace']]}, {cases[name]['greedy']}, gap {cases[name]['smallestGap']:.4f}")
        del model
        gc.collect()
    cases["oneLayer"] = run_in_full(build(layers=1))
    print(f"  one layer: {[round(e['loss'], 5) for e in cases['oneLayer']['trace']]}")
    torch.set_num_threads(1)
    write_json("real-size.json", {
        "case": "LoRA on a model of the shape of Qwen2.5-0.5B, and greedy ids without the adapter", "versions": VERSIONS,
        "conventions": {
            **TRACE,
            "weights": "element i of tensor `name` is table[mix(i + fnv1a(name)) >> 16]; table[k] = (k - 32767.5) / 32768 * sqrt(3) * std, rounded to float32 and, but for lora_A, to bfloat16; norms are 1, lora_B is 0; PEFT's names without .default",
            "oneLayer": "the model with one layer; all weights learn",
            "nf4": "each linear layer but the head as bitsandbytes quantises it, blocks of 64, double quantisation, multiplied out in float32",
            "smallestGap": "least distance of the best two logits where an id was chosen",
        },
        "config": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "dtype": "bfloat16", **CONFIG},
        "std": STD, "lora": LORA, "samples": samples(), "rows": rows(), "cases": cases,
    })


def samples():
    """The first three elements of some tensors: whether the rule was read right."""
    first = lambda name, std, dtype=torch.bfloat16: hashed(name, (3,), std, dtype).double().tolist()
    return {
        "model.embed_tokens.weight": first("model.embed_tokens.weight", 0.02),
        "model.layers.3.self_attn.k_proj.bias": first("model.layers.3.self_attn.k_proj.bias", 0.1),
    }
