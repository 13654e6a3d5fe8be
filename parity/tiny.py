"""The tiny models that the model, trainer and adapter rows share, built from a config with fixed seeds."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from common import FIXTURES, seed

LLAMA = dict(
    num_hidden_layers=2, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128,
    vocab_size=256, max_position_embeddings=128, rms_norm_eps=1e-5, initializer_range=0.1,
    bos_token_id=1, eos_token_id=2, pad_token_id=None,
)


def shake(model, std=0.1):
    """Norm weights away from 1 and biases away from 0, so that a forgotten one shows."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                p.add_(torch.randn_like(p) * std)
    return model.eval()


def build(name):
    seed(9)
    if name == "tiny-llama":
        return shake(LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=False)))
    if name == "tiny-llama-tied":
        return shake(LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})))
    if name == "tiny-qwen2":  # smaller than the Llamas: q/k/v bias and tied head are what it is for
        small = dict(hidden_size=32, intermediate_size=64, vocab_size=128, tie_word_embeddings=True)
        return shake(Qwen2ForCausalLM(Qwen2Config(**{**LLAMA, **small})))
    raise KeyError(name)


def load(name="tiny-llama"):
    """The saved model itself (float32, eager attention), its name as its path so that no machine path is written."""
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32, attn_implementation="eager")
    model.name_or_path = model.config._name_or_path = name
    return model.eval()
