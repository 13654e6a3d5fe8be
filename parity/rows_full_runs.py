"""Full fine-tuning of tiny-llama, 30 updates with label smoothing, weight decay and clipping: every optimizer, every schedule."""

import math

from transformers import PrinterCallback

from common import VERSIONS, fresh_folder, seed, write_json
from recording import RecordingTrainer, arguments, collate
from rows_lora_runs import patterned_rows
from tiny import load

COMMON = dict(max_steps=30, per_device_train_batch_size=2, per_device_eval_batch_size=8, gradient_accumulation_steps=2, learning_rate=2e-3,
              label_smoothing_factor=0.1, weight_decay=0.1, max_grad_norm=0.7, warmup_steps=4)

OPTIMIZERS = {
    "adamw": dict(optim="adamw_torch", adam_beta2=0.98),
    "adamw-fused": dict(optim="adamw_torch_fused", adam_beta1=0.8),
    "adamw-8bit": dict(optim="adamw_bnb_8bit"),
    "sgd": dict(optim="sgd", learning_rate=0.5),
    "sgd-momentum": dict(optim="sgd", optim_args="momentum=0.9,nesterov=true", learning_rate=0.1),
    "lion": dict(optim="lion_32bit", learning_rate=3e-4),
    "adafactor": dict(optim="adafactor"),
}
EVALUATED = dict(eval_strategy="steps", eval_steps=3)
SCHEDULES = {
    "constant": {}, "constant_with_warmup": {}, "linear": {}, "cosine": {}, "inverse_sqrt": {},
    "cosine_with_restarts": dict(lr_scheduler_kwargs={"num_cycles": 3}), "cosine_with_min_lr": dict(lr_scheduler_kwargs={"min_lr_rate": 0.1}),
    "cosine_warmup_with_min_lr": dict(lr_scheduler_kwargs={"min_lr": 1e-4, "warmup_lr_rate": 0.2}), "polynomial": dict(lr_scheduler_kwargs={"power": 2.0}),
    "warmup_stable_decay": dict(lr_scheduler_kwargs={"num_decay_steps": 9, "decay_type": "1-sqrt"}),
    "reduce_lr_on_plateau": dict(lr_scheduler_kwargs={"patience": 1, "factor": 0.5, "threshold": 0.02}, **EVALUATED),
    "greedy": dict(lr_scheduler_kwargs={"patience": 0, "factor": 0.8, "min_lr": 1e-4, "max_lr": 5e-3}, **EVALUATED),
}


def run(name, rows, eval_rows, **given):
    settings = {**COMMON, **given}
    model = load()
    trainer = RecordingTrainer(model=model, args=arguments(**settings), train_dataset=rows, eval_dataset=eval_rows, data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trace = [e for e in trainer.trace if "loss" in e]
    evals = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    assert len(trace) == 30 and all(math.isfinite(e["loss"]) for e in trace)
    print(f"  {name}: loss {trace[0]['loss']:.4f} -> {trace[-1]['loss']:.4f}")
    write_json(f"full-runs/{name}.json", {"name": name, "versions": VERSIONS, "model": "tiny-llama", "settings": settings,
                                         "loss": [e["loss"] for e in trace], "gradNorm": [e["gradNorm"] for e in trace], "learningRate": [e["learningRate"] for e in trace],
                                         **({"evalLoss": evals} if evals else {})})


def main():
    fresh_folder("full-runs")
    seed(31)
    rows, eval_rows = patterned_rows(48, masked=0), patterned_rows(6, masked=0)
    write_json("full-runs/rows.json", {"rows": rows, "evalRows": eval_rows, "order": "as they stand, again in each epoch", "padding": "right, labels -100"})
    for name, given in OPTIMIZERS.items():
        run(name, rows, eval_rows, **given)
    for name, given in SCHEDULES.items():
        run(f"adamw-{name}", rows, eval_rows, optim="adamw_torch", lr_scheduler_type=name, **given)
