"""Runs of prompt tuning, P-tuning and prefix tuning whose rows' first tokens have labels: the last virtual embedding predicts them."""

import torch
from datasets import Dataset
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, PrinterCallback
from trl import SFTConfig, SFTTrainer

from common import FIXTURES, VERSIONS, fresh_folder, seed, write_json
from recording import RecordingTrainer, arguments, collate
from rows_adapters import randomise
from rows_lora_runs import save_adapter
from safetensors.torch import save_file
from tiny import load

COMMON = dict(task_type="CAUSAL_LM", num_virtual_tokens=3)
UPDATES = 10
ARGUMENTS = dict(max_steps=UPDATES, per_device_train_batch_size=2, per_device_eval_batch_size=8, gradient_accumulation_steps=2, learning_rate=1e-2,
                 weight_decay=0.01, max_grad_norm=1.0, eval_strategy="steps", eval_steps=5)

RUNS = {
    "prompt-tuning": ("tiny-llama", lambda: PromptTuningConfig(**COMMON)),
    "prompt-tuning-tied": ("tiny-qwen2", lambda: PromptTuningConfig(**COMMON)),
    "p-tuning": ("tiny-llama", lambda: PromptEncoderConfig(**COMMON, encoder_hidden_size=8)),
    "prefix-tuning": ("tiny-llama", lambda: PrefixTuningConfig(**COMMON)),
}


def rows(vocab, count):
    """Most rows are learned whole; of some the first token, or the first half, has no label."""
    out = []
    for i in range(count):
        ids = torch.randint(3, vocab, (3 + i % 5,)).tolist()
        skip = {1: 1, 3: len(ids) // 2}.get(i % 4, 0)
        out.append({"input_ids": ids, "labels": [-100] * skip + ids[skip:]})
    return out


def accuracy(model, data):
    """What TRL logs as mean_token_accuracy of one batch, and as loss."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "</s>": 2}, unk_token="a")), eos_token="</s>", pad_token="</s>")
    args = SFTConfig(output_dir=arguments().output_dir, use_cpu=True, report_to="none", per_device_eval_batch_size=len(data), bf16=False, gradient_checkpointing=False,
                     max_steps=1, disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True})
    trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(data), eval_dataset=Dataset.from_list(data), processing_class=tokenizer)
    found = trainer.evaluate()
    return {"meanTokenAccuracy": found["eval_mean_token_accuracy"], "loss": found["eval_loss"]}


def main():
    fresh_folder("prompt-runs")
    for name, (base, config) in RUNS.items():
        seed(80)
        model = get_peft_model(load(base), config())
        randomise(model)
        folder = FIXTURES / "prompt-runs" / name
        folder.mkdir(parents=True)
        save_adapter(model, folder)
        encoder = model.prompt_encoder["default"]
        if len(list(encoder.parameters())) > 1:
            save_file({f"prompt_encoder.{n}": p.detach().clone() for n, p in encoder.named_parameters()}, folder / "prompt_encoder.safetensors")
        data, held = rows(model.config.vocab_size, 16), rows(model.config.vocab_size, 6)
        before = accuracy(model, held)
        trainer = RecordingTrainer(model=model, args=arguments(**ARGUMENTS), train_dataset=data, eval_dataset=held, data_collator=collate)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trace = [e for e in trainer.trace if "loss" in e]
        evals = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
        print(f"  {name}: loss {trace[0]['loss']:.5f} -> {trace[-1]['loss']:.5f}, norm {trace[0]['gradNorm']:.4f}, items {trace[0]['numItems']} of {trace[0]['labelsUnshifted']}, eval {evals}, TRL {before}")
        write_json(f"prompt-runs/{name}/run.json", {"versions": VERSIONS, "base": base, "rows": data, "evalRows": held, "settings": {"maxSteps": UPDATES, "perDeviceTrainBatchSize": 2,
                   "gradientAccumulationSteps": 2, "learningRate": 1e-2, "weightDecay": 0.01, "maxGradNorm": 1.0}, "before": before, "evalLoss": evals,
                   "trace": [{k: e[k] for k in ("step", "loss", "gradNorm", "learningRate", "numItems", "labelsUnshifted")} for e in trace]})
