"""Rows 38, 40, 42, 44-46, 56: rsLoRA, rank and alpha patterns, DoRA, PiSSA, OLoRA and orthogonal starts, LoRA+ groups; runs."""

import copy
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from peft.utils.other import get_pattern_key
from torch import nn

from common import E, G, VERSIONS, case, fresh_folder, grid, seed, write_json, write_row, write_tensors
from recording import TRACE, RecordingTrainer, arguments, settings, train
from rows_adapters import randomise
from rows_lora import wrap
from rows_lora_runs import TOLERANCE, patterned_rows, report, save_adapter
from tiny import load


def dora_row():
    cases = []
    for name, bias, options in [
        ("plain", False, dict(r=2, lora_alpha=4)),
        ("with-bias", True, dict(r=2, lora_alpha=4)),
        ("rslora", True, dict(r=4, lora_alpha=4, use_rslora=True)),
    ]:
        seed(42)
        inputs, outputs, r = 4, 6, options["r"]
        w, a, b = grid(outputs, inputs), grid(r, inputs), grid(outputs, r)
        bias = grid(outputs) if bias else None
        model, layer = wrap(w, bias, torch.zeros_like(a), torch.zeros_like(b), use_dora=True, **options)
        start = layer.lora_magnitude_vector["default"].weight.detach().clone()
        m = grid(outputs).abs() + 0.5
        with torch.no_grad():
            layer.lora_A["default"].weight.copy_(a)
            layer.lora_B["default"].weight.copy_(b)
            layer.lora_magnitude_vector["default"].weight.copy_(m)
        x = grid(2, 3, inputs).requires_grad_(True)
        out = model(x)
        d_out = grid(*out.shape)
        pa, pb, pm = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.lora_magnitude_vector["default"].weight
        dx, da, db, dm = torch.autograd.grad(out, (x, pa, pb, pm), d_out)
        scale = layer.scaling["default"]
        direction = w + scale * b @ a
        by_hand = x @ (direction * (m / direction.norm(dim=1))[:, None]).T + (0 if bias is None else bias)
        assert torch.allclose(out, by_hand, atol=1e-12)
        assert torch.allclose(start, w.norm(dim=1), atol=1e-6)
        layer.merge()
        cases.append(case(name, inputs={"x": x, "W": w, "bias": bias, "A": a, "B": b, "m": m},
                          attrs={"r": r, "alpha": options["lora_alpha"], "useRslora": options.get("use_rslora", False), "scaling": scale},
                          outputs={"out": out, "dOut": d_out, "start": w.norm(dim=1), "merged": layer.get_base_layer().weight},
                          grads={"x": dx, "A": da, "B": db, "m": dm}))
    write_row(42, "dora", "DoRA linear: forward, backward, merge (PEFT)", {"float64": {"abs": 1e-10, "rel": 1e-10}, "float32": G}, cases,
              {"shapes": "x [..., in], W [out,in], A [r,in], B [out,r], m [out]", "formula": "m (W + s B A) x / ||W + s B A|| + bias, one norm for each row, detached",
               "start": "m of a new adapter: the row norms of W", "grads": "of sum(out * dOut); W is frozen", "computed": "float64"})


def loraplus_row():
    cases = []
    for name, base, options, plus in [
        ("dora-and-head", "tiny-llama", dict(r=4, target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head"], use_dora=True), dict(loraplus_lr_ratio=16.0)),
        ("embedding-and-head", "tiny-llama", dict(r=4, target_modules=["embed_tokens", "q_proj", "lm_head"]), dict(loraplus_lr_ratio=4.0, loraplus_lr_embedding=5e-5)),
        ("biases", "tiny-qwen2", dict(r=4, target_modules=["q_proj", "v_proj"], lora_bias=True, bias="all"), dict(loraplus_lr_ratio=2.5)),
    ]:
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **options))
        optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_weight_decay=0.1, **plus)
        names = {id(p): n for n, p in model.named_parameters()}
        cases.append(case(name, attrs={"base": base, "learningRate": 1e-3, "weightDecay": 0.1, "config": options, "plus": plus},
                          groups={names[id(p)].removeprefix("base_model.model."): [g["lr"], g["weight_decay"]] for g in optimizer.param_groups for p in g["params"]}))
    write_row(46, "loraplus", "LoRA+: rate and weight decay of each trained parameter", E, cases, {"groups": "PEFT's parameter name: [lr, weight_decay]"})


class Tree(nn.Module):
    """Linear layers at the given paths."""

    def __init__(self, paths):
        super().__init__()
        self.config = {"model_type": "custom"}
        for path in paths:
            at = self
            *parents, last = path.split(".")
            for name in parents:
                if not hasattr(at, name):
                    at.add_module(name, nn.Module())
                at = getattr(at, name)
            at.add_module(last, nn.Linear(8, 8, bias=False))


def scaling_row():
    cases = []
    for r, alpha, rslora in [(16, 16, True), (16, 16, False), (8, 16, True), (8, 16, False), (1, 3, True), (7, 2.5, True), (64, 1, True)]:
        model = get_peft_model(Tree(["proj"]), LoraConfig(target_modules=["proj"], r=r, lora_alpha=alpha, use_rslora=rslora))
        cases.append(case(f"r{r}-alpha{alpha}{'-rslora' if rslora else ''}", attrs={"r": r, "alpha": alpha, "useRslora": rslora}, scaling=model.base_model.model.proj.scaling["default"]))
    write_row(38, "lora-scaling", "alpha / r, rsLoRA alpha / sqrt(r)", {"rel": 1e-15}, cases, {"scaling": "what B A x is multiplied by"})


PATHS = [
    "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.10.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
    "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj", "model.layers.10.mlp.down_proj", "vision.layers.1.q_proj", "lm_head",
]

PATTERNS = {
    "last-name": ({"q_proj": 2}, {"v_proj": 32}),
    "first-hit-wins": ({"q_proj": 2, "layers.1.self_attn.q_proj": 3, "self_attn.q_proj": 5}, {"layers.1.mlp.down_proj": 1, "down_proj": 64}),
    "order-the-other-way": ({"layers.1.self_attn.q_proj": 3, "q_proj": 2}, {"down_proj": 64, "layers.1.mlp.down_proj": 1}),
    "regular-expressions": ({r"layers\.(0|10)\.self_attn\.[qv]_proj": 4, r"model\..*": 6}, {r".*\.1\..*": 7, r"[ql].*": 9}),
    "whole-path-and-caret": ({"model.layers.0.self_attn.v_proj": 3, "^lm_head": 5, "^q_proj": 7}, {"^model.layers.10.self_attn.q_proj": 2.5, "q": 1}),
    "a-dot-is-any-letter": ({"self.attn.q_proj": 3, "layers.1.": 5}, {"layers.1..self_attn.q_proj": 2, "proj": 3}),
    "alternatives": ({"q_proj|down_proj": 3}, {"self_attn.(q|v)_proj|head": 4}),
    "matches-nothing": ({"k_proj": 2, "_proj": 3}, {"attn": 3}),
}


def patterns_row():
    cases = []
    for name, (ranks, alphas) in PATTERNS.items():
        config = LoraConfig(target_modules=["q_proj", "v_proj", "down_proj", "lm_head"], r=8, lora_alpha=16, rank_pattern=ranks, alpha_pattern=alphas)
        model = get_peft_model(Tree(PATHS), config).base_model.model
        found = {}
        for path in PATHS:
            layer = model.get_submodule(path)
            r, alpha = layer.r["default"], layer.lora_alpha["default"]
            assert r == ranks.get(get_pattern_key(ranks, path), 8) and alpha == alphas.get(get_pattern_key(alphas, path), 16)
            assert layer.lora_A["default"].weight.shape[0] == r
            found[path] = [r, alpha, layer.scaling["default"]]
        cases.append(case(name, attrs={"rankPattern": list(ranks.items()), "alphaPattern": list(alphas.items())}, layers=found))
    write_row(40, "lora-patterns", "rank_pattern and alpha_pattern: what PEFT gives each of nine layers", E, cases,
              {"base": "r 8, lora_alpha 16", "patterns": "pairs in their order: the first that matches wins", "layers": "path: [r, lora_alpha, scaling]"})


def start_row():
    cases = []
    for init, options in [("pissa", {}), ("olora", {}), ("pissa", dict(use_rslora=True)), ("olora", dict(lora_alpha=2))]:
        seed(44)
        w = torch.randn(16, 12)
        model = torch.nn.Sequential()
        model.add_module("proj", torch.nn.Linear(12, 16, bias=False))
        model.proj.weight.data = w.clone()
        options = {"r": 4, "lora_alpha": 8, **options}
        layer = get_peft_model(model, LoraConfig(target_modules=["proj"], init_lora_weights=init, **options)).base_model.model.proj
        a, b, scale = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.scaling["default"]
        assert torch.allclose(layer.get_base_layer().weight + scale * b @ a, w, atol=1e-5)
        cases.append(case(f"{init}-{len(cases)}", inputs={"W": w}, attrs={"init": init, "r": 4, "alpha": options["lora_alpha"], "useRslora": options.get("use_rslora", False)},
                          outputs={"BA": b @ a, "columnsOfB": b.norm(dim=0)}))
    write_row(44, "lora-start", "PiSSA and OLoRA: product of the first factors, lengths of B's columns", {"abs": 1e-5, "rel": 1e-5}, cases,
              {"W": "[out,in]", "signs": "those of the factors are free, so their product is given"})


def difference_row():
    for name, base, options in [("pissa", "tiny-qwen2", dict(init_lora_weights="pissa")), ("olora", "tiny-qwen2", dict(init_lora_weights="olora", use_rslora=True))]:
        folder = fresh_folder(f"lora-variants/{name}-saved")
        seed(56)
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], **options))
        start = copy.deepcopy(model.peft_config["default"].init_lora_weights)
        model.peft_config["default"].init_lora_weights = True  # PEFT's docs: so that loading the start does not decompose again
        save_adapter(model, folder / "start")
        model.peft_config["default"].init_lora_weights = start
        randomise(model.train(), 0.05)
        model.eval()
        ids = torch.randint(3, 128, (2, 9))
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        save_adapter(model, folder / "raw")
        model.save_pretrained(folder / "plain", path_initial_model_for_weight_conversion=str(folder / "start"))
        (folder / "plain" / "README.md").unlink(missing_ok=True)
        with torch.no_grad():
            again = PeftModel.from_pretrained(load(base), folder / "plain").eval()(input_ids=ids).logits
            reloaded = PeftModel.from_pretrained(load(base), folder / "raw").eval()(input_ids=ids).logits
        assert torch.allclose(logits, again, atol=1e-4) and torch.allclose(logits, reloaded, atol=1e-4)
        shutil.rmtree(folder / "start")
        write_tensors(f"lora-variants/{name}-saved/expected.safetensors", {"input_ids": ids, "logits": logits}, base=base)


class LoraPlus(RecordingTrainer):
    def create_optimizer(self, *_):
        self.optimizer = create_loraplus_optimizer(
            self.model, torch.optim.AdamW, lr=self.args.learning_rate, loraplus_lr_ratio=8.0, loraplus_weight_decay=self.args.weight_decay)
        return self.optimizer


RUNS = {
    "dora-llama": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_dora=True), dict(weight_decay=0.01)),
    "dora-qwen2": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules="all-linear", use_dora=True, use_rslora=True), {}),
    "pissa-qwen2": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights="pissa"), {}),
    "pissa-llama": ("tiny-llama", dict(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights="pissa", use_rslora=True), dict(weight_decay=0.01)),
    "olora-llama": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights="olora"), {}),
    "olora-qwen2": ("tiny-qwen2", dict(r=3, lora_alpha=3, target_modules=["k_proj", "gate_proj"], init_lora_weights="olora"), {}),
    "rslora-llama": ("tiny-llama", dict(r=16, lora_alpha=4, target_modules=["q_proj", "down_proj"], use_rslora=True), {}),
    "rslora-qwen2": ("tiny-qwen2", dict(r=8, lora_alpha=8, target_modules="all-linear", use_rslora=True), dict(max_grad_norm=0.5)),
    "patterns-llama": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={"layers.0.*": 2, "q_proj": 6}, alpha_pattern={"v_proj": 24}), {}),
    "patterns-qwen2": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules="all-linear", rank_pattern={"mlp.(up|gate)_proj": 1, "k_proj": 8}, alpha_pattern={"k_proj": 2, "o_proj": 32}), {}),
    "orthogonal-llama": ("tiny-llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights="orthogonal"), {}),
    "loraplus-qwen2": ("tiny-qwen2", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"]), dict(weight_decay=0.05, trainer_class=LoraPlus)),
}


def runs(names=RUNS):
    for name in names:
        base, options, more = RUNS[name]
        seed(43)
        rows = patterned_rows(16, 2, 128)
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **options))
        save_adapter(model, fresh_folder(f"lora-variants/{name}") / "initial")
        more = dict(more)
        trainer_class = {"trainer_class": more.pop("trainer_class")} if "trainer_class" in more else {}
        args = arguments(max_steps=20, per_device_train_batch_size=4, learning_rate=1e-2, lr_scheduler_type="linear", **more)
        trace, trainer = train(model, rows, args, **trainer_class)
        write_json(f"lora-variants/{name}/run.json", {
            "case": "a variant of LoRA, 20 updates", "versions": VERSIONS, "tolerance": TOLERANCE, "base": base, "config": options,
            "conventions": {**TRACE, "files": "initial/: the adapter before the run, as PEFT saves it"},
            "settings": settings(args, trainer), **({"loadConfig": {"loraplusLrRatio": 8}} if trainer_class else {}), "trace": trace, "rows": rows})
        report(name, trace)


def main():
    dora_row()
    loraplus_row()
    scaling_row()
    patterns_row()
    start_row()
    runs()
    difference_row()
