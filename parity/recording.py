"""transformers.Trainer that keeps the file order and records every update at full precision."""

import tempfile

import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments


def collate(rows, pad_id=0):
    """Right padding: ids with pad_id, labels with -100, attention_mask 1 real 0 pad. Rows are {input_ids, labels}."""
    width = max(len(r["input_ids"]) for r in rows)
    fill = lambda key, value: torch.tensor([r[key] + [value] * (width - len(r[key])) for r in rows])
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows])
    return {"input_ids": fill("input_ids", pad_id), "labels": fill("labels", -100), "attention_mask": mask}


def label_counts(batches):
    """(shifted, unshifted): labels that are not -100 without and with position 0, over all micro-batches."""
    return (
        sum(int((b["labels"][:, 1:] != -100).sum()) for b in batches),
        sum(int((b["labels"] != -100).sum()) for b in batches),
    )


class Recording:
    """Mixed into a Trainer class: sequential order, and self.trace with one entry for each optimizer update."""

    trace = None
    on_gradients = None  # called with the model after the last micro-batch, before clipping

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.trace = self.trace or []
        shifted, unshifted = label_counts(batches)
        self.trace.append({
            "step": len(self.trace) + 1,
            "microBatches": [list(b["input_ids"].shape) for b in batches],
            "numItems": int(num_items),
            "labelsUnshifted": unshifted,
            "tokens": sum(int(b["attention_mask"].sum()) for b in batches),
            "microLosses": [],
        })
        assert int(num_items) == (shifted if self._loss_shifts_labels else unshifted)
        return batches, num_items

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.trace[-1]["microLosses"].append(loss.item())
        return loss

    def _clip_grad_norm(self, model):
        if self.on_gradients is not None:
            self.on_gradients(model)
        self.trace[-1]["gradNormFloat64"] = torch.cat(
            [p.grad.double().flatten() for p in model.parameters() if p.grad is not None]
        ).norm().item()
        return super()._clip_grad_norm(model)

    def log(self, logs, start_time=None):
        if "loss" in logs:
            entry = self.trace[-1]
            assert entry["step"] == self.state.global_step
            entry.update(loss=logs["loss"], gradNorm=logs["grad_norm"], learningRate=logs["learning_rate"])
            entry["epoch"] = self.state.epoch
            # the logged loss is the sum over the window's micro-batches, each already divided by numItems
            assert abs(logs["loss"] - sum(entry["microLosses"])) < 1e-5
        super().log(logs, start_time)


class RecordingTrainer(Recording, Trainer):
    pass


def arguments(**given):
    """TrainingArguments for the CPU; everything not given is the library's default."""
    quiet = dict(use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1,
                 remove_unused_columns=False, dataloader_pin_memory=False, seed=0)
    return TrainingArguments(output_dir=tempfile.mkdtemp(prefix="parity-"), **quiet, **given)


def train(model, rows, args, trainer_class=RecordingTrainer, on_gradients=None, unshifted=False):
    """Runs it and returns the trace. `unshifted`: count labels as transformers did before it left out position 0."""
    trainer = trainer_class(model=model, args=args, train_dataset=rows, data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    trainer.on_gradients = on_gradients
    if unshifted:
        trainer._loss_shifts_labels = False
    trainer.train()
    return [e for e in trainer.trace if "loss" in e], trainer


def spread(trace, other):
    """Largest relative difference of two traces of the same run: how much float32 rounding alone may move them."""
    worst = lambda key: max(abs(a[key] - b[key]) / max(abs(a[key]), 1e-12) for a, b in zip(trace, other, strict=True))
    return {"loss": worst("loss"), "gradNorm": worst("gradNorm")}


def settings(args, trainer):
    """What a reader needs to run the same: the effective settings, read back from the trainer."""
    groups = trainer.optimizer.param_groups
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    return {
        "perDeviceTrainBatchSize": args.per_device_train_batch_size,
        "gradientAccumulationSteps": args.gradient_accumulation_steps,
        "maxSteps": args.max_steps,
        "learningRate": args.learning_rate,
        "lrSchedulerType": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "warmupSteps": args.get_warmup_steps(args.max_steps),
        "warmupStepsGiven": args.warmup_steps,
        "weightDecay": args.weight_decay,
        "adamBetas": [args.adam_beta1, args.adam_beta2],
        "adamEpsilon": args.adam_epsilon,
        "maxGradNorm": args.max_grad_norm,
        "optim": str(getattr(args.optim, "value", args.optim)),
        "decayGroups": [{"weightDecay": g["weight_decay"], "parameters": [names[id(p)] for p in g["params"]]} for g in groups],
    }


TRACE = {
    "order": "rows in file order, batches of B rows in sequence, no shuffling; every epoch repeats the same order; a last batch may be smaller, a last window may have fewer micro-batches",
    "padding": "right, to the longest row of the micro-batch; labels -100; attention_mask passed",
    "loss": "sum over the window's micro-batches of (sum of cross-entropy / numItems); full float32 precision as logged",
    "numItems": "labels that are not -100, position 0 of each row left out (it is never predicted), over all micro-batches of the window; labelsUnshifted counts position 0 too",
    "gradNorm": "total L2 norm before clipping, as the Trainer logs it (float32); gradNormFloat64 is the same in float64",
    "learningRate": "the rate this update used; step counts from 1",
    "microBatches": "[rows, padded length] of each micro-batch",
}
