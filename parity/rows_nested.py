"""Row 233: models whose text_config is nested beside other towers, and PEFT's adapters on them: logits of text alone."""

import copy
import json

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from common import FIXTURES, fresh_folder, seed, write_tensors
from tiny import shake

TEXT = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, bos_token_id=1, eos_token_id=None, pad_token_id=0)
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=14, patch_size=14)
ROPES = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}

MODELS = {
    "nested-gemma3": ("Gemma3", dict(text_config=dict(TEXT, head_dim=12, query_pre_attn_scalar=12, sliding_window=8, layer_types=["sliding_attention", "full_attention"], rope_parameters=ROPES), vision_config=VISION, mm_tokens_per_image=1, image_token_index=60)),
    "nested-mistral3": ("Mistral3", dict(text_config=dict(TEXT, model_type="mistral", head_dim=8, sliding_window=None), vision_config=dict(VISION, model_type="pixtral", head_dim=4), image_token_index=60, tie_word_embeddings=False)),
    "nested-smolvlm": ("SmolVLM", dict(text_config=dict(TEXT, model_type="llama"), vision_config=VISION, image_token_id=60, scale_factor=1)),
}


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.contiguous()


def model_of(name):
    stem, keys = MODELS[name]
    Model = getattr(transformers, f"{stem}ForConditionalGeneration")
    folder = fresh_folder(name)
    seed(9)
    model = shake(Model(getattr(transformers, f"{stem}Config")(**copy.deepcopy(keys))))
    model.to(torch.bfloat16).save_pretrained(folder)
    load = lambda: Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = load()
    seed(9)
    ids = torch.randint(3, 59, (2, 12))
    found = {"input_ids": ids.int(), "logits": logits(model, ids)}
    # Names as the modules have them: what transformers 4.52 and later wrote for some of these classes.
    inside = {key: value for key, value in model.state_dict().items() if key != "lm_head.weight" or not model.config.tie_word_embeddings}
    (folder / "names.json").write_text(json.dumps(sorted(key for key in inside if "vision" not in key), indent=0))
    greedy = model.generate(ids[:1], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    found["greedy"] = greedy[0, ids.shape[1]:].int()
    seed(9)
    adapted = get_peft_model(load(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for key, parameter in adapted.named_parameters():
        if "lora_" in key:
            parameter.data = torch.randn_like(parameter) * 0.3
    adapted.name_or_path = adapted.peft_config["default"].base_model_name_or_path = name
    adapted.save_pretrained(folder / "adapter")
    found["adapted"] = logits(adapted, ids)
    write_tensors(folder / "forward.safetensors", found)
    readme = folder / "adapter" / "README.md"
    readme.unlink(missing_ok=True)
    print(f"{name}: {model.config.model_type} with {model.config.text_config.model_type}, tied {model.config.tie_word_embeddings}")


def main():
    for name in MODELS:
        model_of(name)
