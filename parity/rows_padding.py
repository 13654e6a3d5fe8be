"""Full fine-tuning and LoRA on embeddings where the padding token is the end token and stands inside of rows: torch gives its row no gradient from lookups."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PrinterCallback
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json
from recording import RecordingTrainer, arguments, collate

EOS = 2
SIZES = dict(vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
             max_position_embeddings=32, rms_norm_eps=1e-5, initializer_range=0.3, bos_token_id=1, eos_token_id=EOS, pad_token_id=EOS)
UPDATES = 10
ARGUMENTS = dict(max_steps=UPDATES, per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=1e-2, weight_decay=0.1, max_grad_norm=1.0)

# GPT-2 alone has no such row. name: (model type, changes of the config, LoRA, whether the padding row begins as 0)
RUNS = {
    "untied": ("llama", dict(tie_word_embeddings=False), None, False),
    "tied": ("llama", dict(tie_word_embeddings=True), None, False),
    "no-pad": ("llama", dict(tie_word_embeddings=False, pad_token_id=None), None, False),
    "negative": ("llama", dict(tie_word_embeddings=False, pad_token_id=EOS - SIZES["vocab_size"]), None, False),
    "zero-row": ("qwen2", dict(tie_word_embeddings=False), None, True),
    "gemma2": ("gemma2", dict(query_pre_attn_scalar=8), None, False),
    "gemma-default": ("gemma", dict(pad_token_id=0), None, False),
    "phi3": ("phi3", dict(tie_word_embeddings=False), None, False),
    "lora": ("llama", dict(tie_word_embeddings=False), dict(r=4, target_modules=["embed_tokens", "q_proj"]), False),
    "lora-tied": ("gemma2", dict(query_pre_attn_scalar=8), dict(r=4, target_modules=["embed_tokens"]), False),
    "dora": ("llama", dict(tie_word_embeddings=False), dict(r=4, target_modules=["embed_tokens"], use_dora=True), False),
    "saved": ("llama", dict(tie_word_embeddings=False), dict(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"]), False),
}


def rows():
    """Texts of several documents, the end token between them and at the end; id 0 (Gemma's padding) among them."""
    generator = torch.Generator().manual_seed(7)
    drawn = lambda n: torch.randint(3, 12, (n,), generator=generator).tolist()
    out = []
    for i in range(16):
        ids = [1, *drawn(2 + i % 3), EOS, *drawn(1), 0, *drawn(1 + i % 2), EOS]
        out.append({"input_ids": ids, "labels": [-100 if i % 4 == 1 and t == 2 else v for t, v in enumerate(ids)]})
    return out


def build(kind, changes, zero_row):
    seed(66)
    config = CONFIG_MAPPING[kind](**{**SIZES, **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p + 0.2 * torch.randn_like(p)).mul(1024).round().div(1024))
        if zero_row:
            model.get_input_embeddings().weight[EOS] = 0
    return model


def main():
    fresh_folder("padding")
    data = rows()
    write_json("padding/rows.json", {"rows": data})
    for name, (kind, changes, lora, zero_row) in RUNS.items():
        model = build(kind, changes, zero_row)
        folder = f"padding/{name}"
        model.save_pretrained(FIXTURES / folder)
        (FIXTURES / folder / "generation_config.json").unlink(missing_ok=True)
        if lora:
            seed(67)
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_alpha=8, **lora))
            with torch.no_grad():
                for n, p in model.named_parameters():
                    if p.requires_grad and "lora" in n:
                        p.copy_((p + 0.1 * torch.randn_like(p)).mul(1024).round().div(1024))
            model.save_pretrained(FIXTURES / folder / "initial")
            (FIXTURES / folder / "initial" / "README.md").unlink(missing_ok=True)
        trainer = RecordingTrainer(model=model, args=arguments(**ARGUMENTS), train_dataset=data, data_collator=lambda b: collate(b, EOS))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trace = [e for e in trainer.trace if "loss" in e]
        assert len(trace) == UPDATES
        table = model.get_input_embeddings()
        weight = getattr(table, "weight", None)
        row = weight[EOS].detach().double().norm().item()
        print(f"  {name}: loss {trace[0]['loss']:.4f} -> {trace[-1]['loss']:.4f}, norm {trace[0]['gradNorm']:.4f}, row {row:.4f}")
        write_json(f"{folder}/run.json", {"versions": VERSIONS, "settings": {"maxSteps": UPDATES, "perDeviceTrainBatchSize": 2, "gradientAccumulationSteps": 2,
                   "learningRate": 1e-2, "weightDecay": 0.1, "maxGradNorm": 1.0}, "endRowNorm": row,
                   "trace": [{k: e[k] for k in ("step", "loss", "gradNorm", "learningRate")} for e in trace]})
