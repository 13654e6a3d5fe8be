import type { AdapterProblem } from './problem.js';
import { loraPairs, rankAndAlpha, rankOf, type SavedAdapter, some } from './savedAdapter.js';
import { pairProblems } from './shared.js';

/** Methods of PEFT 0.21. */
const METHODS: ReadonlySet<string> = new Set(
  `PROMPT_TUNING MULTITASK_PROMPT_TUNING P_TUNING PREFIX_TUNING LORA ADALORA ADAMSS BOFT ADAPTION_PROMPT IA3 BEFT LILY LOHA
   LOKR OFT POLY LN_TUNING VERA FROD PVERA FOURIERFT GLORA XLORA HRA VBLORA UNILORA CPT MISS RANDLORA ROAD TRAINABLE_TOKENS
   HIRA SHIRA C3A WAVEFT OSF DELORA GRALORA CARTRIDGE TINYLORA PSOFT PEANUT SHADOW SUPERTUNING DEFT`.split(
    /\s+/,
  ),
);

/** Starts that PEFT takes out of the base again when it loads, and not the same again. */
const notRepeated = /^(pissa_niter_\d+|corda|loftq|lora_ga)$/;

/**
 * The rules of PEFT 0.21.2: `utils/peft_types.py`, `tuners/lora/layer.py` (starts, ranks),
 * `utils/save_and_load.py` (names).
 */
export function peftProblems(adapter: SavedAdapter): AdapterProblem[] {
  const { fields, tensors } = adapter;
  if (!METHODS.has(String(fields.peft_type)))
    return [
      {
        code: 'METHOD',
        effect: 'refused',
        message: `peft_type is ${JSON.stringify(fields.peft_type)}, which is no method of PEFT 0.21.`,
        fix: 'Merge it where the method can be merged, or load it with Attune.',
      },
    ];
  const problems: AdapterProblem[] = [];
  if (fields.peft_type === 'LORA') {
    const { pairs } = loraPairs(adapter);
    problems.push(...pairProblems(pairs));
    const other = pairs.filter((pair) => rankAndAlpha(adapter, pair.path).r !== rankOf(pair));
    if (other.length > 0)
      problems.push({
        code: 'RANK_MISMATCH',
        effect: 'refused',
        message: `r and rank_pattern give ${some(other.map((pair) => `${pair.path} rank ${rankAndAlpha(adapter, pair.path).r}, its tensors have ${rankOf(pair)}`))}.`,
        fix: 'Put r and rank_pattern right, or save the adapter again.',
      });
    const init = fields.init_lora_weights;
    if (typeof init === 'string' && notRepeated.test(init))
      problems.push({
        code: 'START_FROM_BASE',
        effect: 'wrong',
        message: `init_lora_weights is "${init}": PEFT takes that part out of the base again, and not the same one.`,
        fix: init.startsWith('pissa')
          ? 'Save it with savePretrained(folder, { portable: true }) or { plainLora: true }.'
          : 'Save it as a plain LoRA in PEFT: save_pretrained(folder, path_initial_model_for_weight_conversion=...).',
      });
  }
  // Prompts and prefixes are no part of the base and have names of their own.
  const hasLayers = fields.target_modules != null;
  const strange = [...tensors.keys()].filter((name) => !name.startsWith('base_model.'));
  if (hasLayers && strange.length > 0)
    problems.push({
      code: 'TENSOR',
      effect: 'wrong',
      message: `names begin with "base_model." in PEFT, which passes over ${some(strange)}.`,
      fix: 'Save the adapter again, or give the names that prefix.',
    });
  return problems;
}
