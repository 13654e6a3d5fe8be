"""Row 406: rules on tokens (suppressed, forced, not repeated, typical, ...) by transformers' processors and by `generate`."""

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from common import FIXTURES, VERSIONS, seed, tensor, write_json
from rows_generation import PROMPTS, generated

# On one row of logits: [options, ids so far, tokens of the prompt].
IDS = [3, 7, 1, 3, 7, 4, 1, 3]
EOS = [2, 9]
RULES = [
    dict(no_repeat_ngram_size=1), dict(no_repeat_ngram_size=2), dict(no_repeat_ngram_size=3), dict(no_repeat_ngram_size=20),
    dict(encoder_no_repeat_ngram_size=2), dict(encoder_repetition_penalty=1.5), dict(encoder_repetition_penalty=0.7), dict(repetition_penalty=1.4),
    dict(bad_words_ids=[[5], [2], [3, 7], [1, 3, 6], [4, 4, 0]]), dict(sequence_bias=[[[5], 2.5], [[3, 7], -1.5], [[1, 3, 7], 4.0], [[8, 3, 1], 9.0]]),
    dict(min_length=9), dict(min_length=8), dict(min_new_tokens=4), dict(min_new_tokens=3), dict(min_length=3, min_new_tokens=5),
    dict(forced_eos_token_id=9, max_length=9), dict(forced_eos_token_id=[2, 9], max_length=9), dict(forced_eos_token_id=9, max_length=12),
    dict(forced_bos_token_id=6), dict(exponential_decay_length_penalty=(1, 1.5)), dict(exponential_decay_length_penalty=(3, 1.5)),
    dict(suppress_tokens=[0, 4, 11]), dict(begin_suppress_tokens=[0, 4]), dict(renormalize_logits=True), dict(remove_invalid_values=True, suppress_tokens=[1]),
    dict(suppress_tokens=[1], remove_invalid_values=True, bad_words_ids=[[4]], renormalize_logits=True),
    dict(do_sample=True, temperature=0.7), dict(do_sample=True, typical_p=0.5), dict(do_sample=True, typical_p=0.9), dict(do_sample=True, typical_p=0.2, top_k=5),
    dict(do_sample=True, epsilon_cutoff=0.05), dict(do_sample=True, epsilon_cutoff=0.9), dict(do_sample=True, eta_cutoff=0.05), dict(do_sample=True, eta_cutoff=0.6),
    dict(do_sample=True, top_h=0.4), dict(do_sample=True, top_h=0.95), dict(do_sample=True, top_h=0.7, top_k=3, min_p=0.1),
    dict(do_sample=True, temperature=1.3, top_k=8, top_p=0.9, min_p=0.05, typical_p=0.95, epsilon_cutoff=0.01, eta_cutoff=0.02, repetition_penalty=1.2, no_repeat_ngram_size=2, renormalize_logits=True),
]
STARTS = [dict(begin_suppress_tokens=[0, 4]), dict(begin_suppress_tokens=[0, 4], forced_bos_token_id=6), dict(forced_bos_token_id=6), dict(min_new_tokens=1), dict(no_repeat_ngram_size=2)]


def scored(model, logits, options, ids, prompt):
    config = GenerationConfig(**{"num_beams": 1, "top_k": 0, **options})
    config._eos_token_tensor = torch.tensor(EOS)
    given = torch.tensor([ids[:prompt]])
    processors = model._get_logits_processor(config, input_ids_seq_length=prompt, encoder_input_ids=given, device="cpu", model_kwargs={})
    return processors(torch.tensor([ids]), logits.clone()[None])[0]


# For whole answers; eos is what the greedy answers contain.
ANSWERS = [
    dict(min_length=18), dict(min_new_tokens=15), dict(no_repeat_ngram_size=2), dict(no_repeat_ngram_size=3), dict(encoder_no_repeat_ngram_size=1),
    dict(suppress="first"), dict(begin_suppress="first"), dict(bad_words="pairs"), dict(forced_eos=True), dict(forced_bos_token_id=33),
    dict(exponential_decay_length_penalty=(4, 1.3)), dict(encoder_repetition_penalty=1.6), dict(repetition_penalty=1.3, no_repeat_ngram_size=2, renormalize_logits=True),
    dict(sequence_bias="pairs"), dict(min_new_tokens=6, bad_words="pairs", suppress="first"),
]


def spelled(options, greedy, eos):
    """The words above as ids: of what the greedy answer to the first prompt is."""
    answer = greedy[0][len(PROMPTS[0]):]
    pairs = [answer[0:2], answer[3:5], [answer[6]]]
    known = {
        "suppress": ("suppress_tokens", answer[:1]), "begin_suppress": ("begin_suppress_tokens", answer[:1]),
        "bad_words": ("bad_words_ids", pairs), "forced_eos": ("forced_eos_token_id", eos[0]),
    }
    out = {}
    for key, value in options.items():
        if key == "sequence_bias":
            out[key] = [[pair, -2.5] for pair in pairs]
        else:
            name, found = known.get(key, (key, value))
            out[name] = found
    return out


def main():
    seed(124)
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / "tiny-llama", dtype=torch.float32, attn_implementation="eager").eval()
    logits = torch.randn(12) * 2
    rules = []
    for options in RULES:
        rules.append({"options": options, "ids": IDS, "prompt": 5, "scores": tensor(scored(model, logits, options, IDS, 5))["data"]})
    for options in STARTS:
        for ids in ([3], [3, 7]):
            rules.append({"options": options, "ids": ids, "prompt": len(ids), "scores": tensor(scored(model, logits, options, ids, len(ids)))["data"]})
        rules.append({"options": options, "ids": [3, 7], "prompt": 1, "scores": tensor(scored(model, logits, options, [3, 7], 1))["data"]})
    answers = []
    for name in ("tiny-llama", "tiny-qwen2"):
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32, attn_implementation="eager").eval()
        greedy, _ = generated(model, PROMPTS, max_new_tokens=20, eos_token_id=None)
        eos = sorted({greedy[0][len(PROMPTS[0]) + 5], greedy[1][len(PROMPTS[1]) + 9]})
        for given in ANSWERS:
            for beams in (1, 3):
                options = {"max_new_tokens": 14, "eos_token_id": eos, "num_beams": beams, **spelled(given, greedy, eos)}
                # Padding counts as a part of the prompt there: one prompt at a time has none.
                alone = any(key.startswith("encoder") for key in given)
                sequences = [generated(model, [prompt], **options)[0][0] for prompt in PROMPTS] if alone else generated(model, PROMPTS, **options)[0]
                answers.append({"model": name, "options": options, "sequences": sequences})
    write_json("row406-generation-rules.json", {
        "row": 406, "case": "rules on tokens: scores of one row, and whole answers", "versions": VERSIONS, "tolerance": {"abs": 1e-5, "rel": 1e-5},
        "conventions": {"rules": "scores of `logits` where `ids` were written, the first `prompt` of them given; eos are `eos`", "answers": "as in row 122"},
        "logits": tensor(logits)["data"], "eos": EOS, "rules": rules, "prompts": PROMPTS, "answers": answers,
    })


if __name__ == "__main__":
    main()
