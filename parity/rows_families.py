"""Rows 9-11 for every other model family: logits, loss, sketches of all gradients, 64 greedy tokens; rope scalings."""

import math

import torch
import transformers
from safetensors.torch import load_file, save_file

from common import FIXTURES, M, VERSIONS, case, fresh_folder, seed, write_json, write_row, write_tensors
from tiny import shake

SIZES = dict(
    num_hidden_layers=2, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, vocab_size=256,
    max_position_embeddings=128, initializer_range=0.2, bos_token_id=1, eos_token_id=None, pad_token_id=None,
)
# Shorter than the rows (20 tokens) and than the generated text, so that it matters.
WINDOW = 8

FAMILIES = {
    "tiny-mistral": ("Mistral", dict(SIZES, sliding_window=WINDOW)),
    "tiny-qwen2-window": ("Qwen2", dict(SIZES, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)),
    "tiny-qwen3": ("Qwen3", dict(SIZES, head_dim=24, tie_word_embeddings=True)),
    "tiny-smollm3": ("SmolLM3", dict(SIZES, no_rope_layer_interval=2, tie_word_embeddings=True)),
    "tiny-gemma": ("Gemma", dict(SIZES, head_dim=24)),
    "tiny-gemma2": ("Gemma2", dict(SIZES, head_dim=24, query_pre_attn_scalar=40, attn_logit_softcapping=3.0, final_logit_softcapping=0.5, sliding_window=WINDOW)),
    "tiny-gemma3": ("Gemma3", dict(
        SIZES, num_hidden_layers=3, head_dim=24, query_pre_attn_scalar=40, sliding_window=WINDOW, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    )),
    # 12 of 16 features turn; the text crosses original_max_position_embeddings, where other frequencies begin.
    "tiny-phi3": ("Phi3", dict(SIZES, sliding_window=24, original_max_position_embeddings=32, rope_parameters={
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.1, 1.2, 1.4, 1.7, 2.0], "long_factor": [1.0, 1.3, 1.9, 2.8, 4.0, 5.5],
    })),
    "tiny-gpt2": ("GPT2", dict(n_layer=2, n_embd=64, n_head=4, n_positions=128, vocab_size=256, initializer_range=0.2, bos_token_id=1, eos_token_id=None)),
}


def classes(stem):
    config = "Gemma3TextConfig" if stem == "Gemma3" else f"{stem}Config"
    model = "GPT2LMHeadModel" if stem == "GPT2" else f"{stem}ForCausalLM"
    return getattr(transformers, config), getattr(transformers, model)


def build(name):
    """Saved in bfloat16 for size; every number below is computed in float32 from those weights."""
    stem, keys = FAMILIES[name]
    Config, Model = classes(stem)
    folder = fresh_folder(name)
    seed(9)
    model = shake(Model(Config(**keys)))
    if "gemma" in name:  # times sqrt(hidden) and tied to the head, it would only ever repeat the last token
        model.model.embed_tokens.weight.data.mul_(0.2)
    model.to(torch.bfloat16).save_pretrained(folder)
    return Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def wave(n):
    """What gradients of matrices are multiplied with: 2 + cos(0), 2 + cos(1), ..."""
    return 2 + torch.cos(torch.arange(n, dtype=torch.float64))


def sketch(name, grad):
    """A vector's gradient itself; of a matrix G [m, n] the products G w and w G: m + n numbers that any error moves."""
    if grad.dim() == 1:
        return {f"grad.{name}": grad}
    g = grad.double()
    return {f"grad.{name}.rows": (g @ wave(g.shape[1])).float(), f"grad.{name}.columns": (wave(g.shape[0]) @ g).float()}


def family(name):
    model = build(name)
    vocab = model.config.vocab_size
    seed(9)
    ids = torch.randint(3, vocab, (2, 20))
    labels = ids.clone()
    labels[0, :5] = -100
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    grads = {}
    for n, p in model.named_parameters():
        grads.update(sketch(n, p.grad))
    write_tensors(f"{name}/forward.safetensors", {"input_ids": ids, "labels": labels, "logits": out.logits, **grads})

    with torch.no_grad():
        prompt = ids[:1, :12]
        text = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False, pad_token_id=0)
        # Two prompts of different lengths, padded on the left.
        batch = torch.zeros(2, 12, dtype=torch.long)
        mask = torch.zeros(2, 12, dtype=torch.long)
        batch[0], mask[0] = ids[0, :12], 1
        batch[1, 5:], mask[1, 5:] = ids[1, :7], 1
        padded = model.generate(batch, attention_mask=mask, max_new_tokens=24, do_sample=False, pad_token_id=0)
        again = model(text).logits[0, 11:-1]
    top = again.topk(2, dim=-1).values
    write_json(f"{name}/forward.json", {
        "row": 9, "case": f"{name} forward, backward, generation", "versions": VERSIONS, "tolerance": M,
        "conventions": {
            "files": "model.safetensors (bfloat16) + config.json as HF save_pretrained writes; all numbers are float32 arithmetic on those weights",
            "gradients": "forward.safetensors: grad.<name> of vectors; of a matrix G [m, n] grad.<name>.rows = G w, grad.<name>.columns = w G with w_i = 2 + cos(i)",
            "loss": "labels are unshifted; mean over shifted labels that are not -100",
        },
        "loss": out.loss.item(),
        "parameters": {n: list(p.shape) for n, p in model.named_parameters()},
        "gradNorm": {n: p.grad.double().norm().item() for n, p in model.named_parameters()},
        "greedy": {"promptIds": prompt[0].tolist(), "ids": text[0].tolist()},
        "greedyPadded": {"prompts": [batch[0].tolist(), batch[1, 5:].tolist()], "ids": [padded[0].tolist(), padded[1, 5:].tolist()]},
    })
    print(f"  {name}: loss {out.loss.item():.4f}, logits std {out.logits.std().item():.3f}, {len(set(text[0, 12:].tolist()))} different tokens, least margin {(top[:, 0] - top[:, 1]).min().item():.4f}")


ROPES = {
    "yarn": dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64),
    "yarn-options": dict(rope_type="yarn", rope_theta=500000.0, factor=8.0, original_max_position_embeddings=32, beta_fast=16.0, beta_slow=2.0, truncate=False, mscale=1.0, mscale_all_dim=0.7),
    "yarn-attention-factor": dict(rope_type="yarn", rope_theta=10000.0, factor=2.0, original_max_position_embeddings=128, attention_factor=1.25),
    "dynamic": dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0),
    "longrope": dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=48, short_factor=[1.0 + i / 8 for i in range(8)], long_factor=[1.0 + i for i in range(8)]),
    "longrope-factor": dict(rope_type="longrope", rope_theta=10000.0, factor=16.0, original_max_position_embeddings=48, short_factor=[1.0] * 8, long_factor=[2.0] * 8),
}


def ropes():
    """cos and sin of LlamaRotaryEmbedding (head_dim 16, 128 positions) for a short and a long sequence."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    cases = []
    for name, parameters in ROPES.items():
        for length in (40, 200):
            config = transformers.LlamaConfig(**{**SIZES, "rope_parameters": dict(parameters)})
            rotary = LlamaRotaryEmbedding(config)
            positions = torch.arange(length)[None]
            cos, sin = rotary(torch.zeros(1), positions)
            at = [0, 1, 7, length - 1]
            cases.append(case(f"{name} of {length} tokens", attrs={"rope_parameters": parameters, "max_position_embeddings": 128, "head_dim": 16, "length": length, "positions": at},
                              outputs={"cos": cos[0, at, :8], "sin": sin[0, at, :8]}))
    write_row(230, "rope-scaling", "rotary embeddings stretched for long sequences", M, cases,
              conventions={"rows": "cos and sin at attrs.positions in a sequence of attrs.length tokens, the first half of the features (the second repeats it)"})


def main():
    for name in FAMILIES:
        family(name)
    ropes()
