"""Row 39: which modules a LoRA config matches, by PEFT's own function and by PEFT applied to a real model."""

from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from common import E, seed, write_row


def llama():
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=12, hidden_size=8, num_attention_heads=2, num_key_value_heads=1, intermediate_size=8, vocab_size=16))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=8, n_head=2, vocab_size=16, n_positions=8))


class Trap(nn.Module):
    """Names chosen to catch a substring match, and a nested number (an expert) after the layer number."""

    def __init__(self):
        super().__init__()
        linear = lambda: nn.Linear(2, 2)
        layer = lambda: nn.ModuleDict({"q_proj": linear(), "my_q_proj": linear(), "q_proj_norm": linear(), "experts": nn.ModuleList([nn.ModuleDict({"q_proj": linear()}) for _ in range(2)])})
        self.layers = nn.ModuleList([layer() for _ in range(2)])
        self.h = nn.ModuleList([nn.ModuleDict({"q_proj": linear()}) for _ in range(2)])
        self.q_proj = linear()
        self.head = linear()


MODELS = {"llama": llama, "gpt2": gpt2, "trap": Trap}

LLAMA_CASES = [
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=["proj"]),
    dict(target_modules=["self_attn.q_proj"]),
    dict(target_modules=["model.layers.3.mlp.down_proj", "lm_head"]),
    dict(target_modules=["1.self_attn.q_proj"]),
    dict(target_modules=r".*\.(q|v)_proj"),
    dict(target_modules=r"q_proj"),
    dict(target_modules=r".*layers\.(0|11)\.mlp\..*_proj"),
    dict(target_modules="all-linear"),
    dict(target_modules="ALL-LINEAR"),
    dict(target_modules="all-linear", exclude_modules=["down_proj"]),
    dict(target_modules=["q_proj", "v_proj"], exclude_modules=["v_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=["model.layers.0.self_attn.q_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=r".*layers\.1\..*"),
    dict(target_modules=["q_proj"], exclude_modules=r".*layers\.[0-9]\..*"),
    dict(target_modules=["q_proj", "lm_head"], modules_to_save=["lm_head"]),
    dict(target_modules=["q_proj", "gate_proj"], modules_to_save=["mlp"]),
    dict(target_modules=["q_proj"], layers_to_transform=1),
    dict(target_modules=["q_proj"], layers_to_transform=[0, 11]),
    dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[1], layers_pattern="layers"),
    dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern=["h", "layers"]),
    dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="h"),
    dict(target_modules=["q_proj"], layers_to_transform=[]),
    dict(target_modules=["q_proj", "lm_head"], layers_to_transform=[2]),
    dict(target_modules=["q_proj"], layers_to_transform=[12]),
    dict(target_modules=["qproj"]),
    dict(target_modules="nothing.*"),
    dict(target_modules=["q_proj"], exclude_modules=["q_proj"]),
    dict(target_modules="q_proj", layers_to_transform=[0]),
    dict(target_modules=["q_proj"], layers_pattern="layers"),
    dict(target_modules=["mlp"]),
]
GPT2_CASES = [
    dict(target_modules=["c_attn"]),
    dict(target_modules=["c_proj"]),
    dict(target_modules=["attn.c_proj"]),
    dict(target_modules="all-linear"),
    dict(target_modules=["c_attn"], layers_to_transform=[1]),
    dict(target_modules=["c_attn"], layers_to_transform=[1], layers_pattern="h"),
    dict(target_modules=["c_fc"], exclude_modules=["h.0.mlp.c_fc"]),
    dict(target_modules=r".*\.h\.0\..*c_.*"),
]
TRAP_CASES = [
    dict(target_modules=["q_proj"]),
    dict(target_modules=["layers.0.q_proj"]),
    dict(target_modules=["q_proj"], layers_to_transform=[1]),
    dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers"),
    dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern="experts"),
    dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern="h"),
    dict(target_modules="all-linear"),
    dict(target_modules="all-linear", exclude_modules=["q_proj"]),
]


def match(make, options):
    """{matched, applied | error}: PEFT's function over every module name, then the layers PEFT really wraps."""
    out = {}
    names = [n for n, _ in make().named_modules() if n]
    task = {} if make is Trap else {"task_type": "CAUSAL_LM"}
    try:
        config = LoraConfig(**task, **options)
    except Exception as error:
        return {"configError": {"type": type(error).__name__, "message": str(error)}}
    everything = isinstance(options["target_modules"], str) and options["target_modules"].lower() == "all-linear"
    if not everything:
        found = [n for n in names if (hit := check_target_module_exists(config, n)) and not isinstance(hit, _ExcludedModule)]
        out["matched"] = found
    try:
        model = get_peft_model(make(), config)
        out["applied"] = [n for n in names if n in set(model.base_model.targeted_module_names)]
        assert len(out["applied"]) == len(set(model.base_model.targeted_module_names))
        assert everything or out["applied"] == out["matched"]
    except Exception as error:
        out["applyError"] = {"type": type(error).__name__, "message": str(error).split("LlamaMLP(")[0]}
    return out


def main():
    seed(39)
    cases = []
    for key, options_list in [("llama", LLAMA_CASES), ("gpt2", GPT2_CASES), ("trap", TRAP_CASES)]:
        for i, options in enumerate(options_list):
            cases.append({"name": f"{key}-{i:02d}", "attrs": {"model": key, **options}, "outputs": match(MODELS[key], options)})
    models = {key: [[n, type(m).__name__] for n, m in make().named_modules() if n] for key, make in MODELS.items()}
    write_row(39, "target-matching", "LoRA target matching", E, cases,
              {"models": "every module in model order as [name, class]; Conv1D is GPT-2's transposed linear",
               "attrs": "LoraConfig fields, Python names: a list matches an exact name or a dotted suffix, a string is a regex that must match the full name (or 'all-linear', any case)",
               "matched": "check_target_module_exists over every module name, in model order (not given for all-linear)",
               "applied": "modules that get_peft_model wrapped, in model order; applyError / configError where PEFT refuses"},
              models=models)
