import { type AdapterProblem, MERGE } from './problem.js';
import { isOn, type LoraPair, rankOf, type SavedAdapter, some } from './savedAdapter.js';

/**
 * Options of PEFT that change what an adapter computes and that neither vLLM nor llama.cpp's
 * converter reads.
 */
export const READ_BY_PEFT_ALONE = ['layer_replication', 'use_qalora', 'use_bdlora', 'arrow_config'];

/** Starts that took a part out of the base, which a plain base still has. */
export const takesFromBase = (init: unknown): boolean =>
  typeof init === 'string' && /^(pissa(_niter_\d+)?|olora|corda|loftq|lora_ga)$/.test(init);

/** A method other than LoRA. */
export function methodProblem({ fields }: SavedAdapter, target: string): AdapterProblem[] {
  if (fields.peft_type === 'LORA') return [];
  return [
    {
      code: 'METHOD',
      effect: 'refused',
      message: `peft_type is ${JSON.stringify(fields.peft_type)}; ${target} reads LORA alone.`,
      fix: MERGE,
    },
  ];
}

export function optionProblems(
  { fields }: SavedAdapter,
  target: string,
  more: readonly string[] = [],
): AdapterProblem[] {
  return [...READ_BY_PEFT_ALONE, ...more]
    .filter((name) => isOn(fields[name]))
    .map((name) => ({
      code: 'OPTION' as const,
      effect: 'wrong' as const,
      message: `${name} is ${JSON.stringify(fields[name])}, which ${target} passes over.`,
      fix: MERGE,
    }));
}

export function startProblems({ fields }: SavedAdapter, target: string): AdapterProblem[] {
  const init = fields.init_lora_weights;
  if (!takesFromBase(init)) return [];
  const ours = /^(pissa|olora)/.test(init as string);
  return [
    {
      code: 'START_FROM_BASE',
      effect: 'wrong',
      message: `init_lora_weights is "${init}": A and B hold a part of the base, which ${target} does not take out of it.`,
      fix: ours
        ? 'Save it with savePretrained(folder, { portable: true }) or { plainLora: true }.'
        : 'Save it as a plain LoRA in PEFT: save_pretrained(folder, path_initial_model_for_weight_conversion=...).',
    },
  ];
}

/** Factors that do not belong together. */
export const pairProblems = (pairs: readonly LoraPair[]): AdapterProblem[] => {
  const broken = pairs.filter(({ a, b }) => !a || !b || a[0] !== b[1]);
  if (broken.length === 0) return [];
  return [
    {
      code: 'PAIR',
      effect: 'refused',
      message: `A and B do not fit together, or one is missing: ${some(broken.map(({ path, a, b }) => `${path} (A ${shown(a)}, B ${shown(b)})`))}.`,
      fix: 'The file is damaged or belongs to another config: save the adapter again.',
    },
  ];
};

const shown = (shape: readonly number[] | undefined): string =>
  shape ? `[${shape.join(', ')}]` : 'missing';

export const isHead = ({ path }: LoraPair): boolean => /(^|\.)(lm_head|embed_out)$/.test(path);

/** GPT-2: layers that PEFT adapts in the layout [in, out]. */
export const conv1dPairs = ({ fields }: SavedAdapter, pairs: readonly LoraPair[]): LoraPair[] =>
  fields.fan_in_fan_out === true
    ? [...pairs]
    : pairs.filter(({ path }) => /\.(c_attn|c_proj|c_fc)$/.test(path));

/** Tensors that are neither A nor B, by what they are. */
export function sortOthers({ fields }: SavedAdapter, others: readonly string[]) {
  const saved = Array.isArray(fields.modules_to_save) ? (fields.modules_to_save as string[]) : [];
  const is = {
    dora: (name: string) => name.includes('lora_magnitude_vector'),
    saved: (name: string) => saved.some((module) => `.${name}.`.includes(`.${module}.`)),
    bias: (name: string) => name.endsWith('.bias'),
  };
  const dora = others.filter(is.dora);
  const modules = others.filter((name) => !is.dora(name) && is.saved(name));
  const biases = others.filter((name) => !is.dora(name) && !is.saved(name) && is.bias(name));
  const known = new Set([...dora, ...modules, ...biases]);
  return { dora, modules, biases, rest: others.filter((name) => !known.has(name)) };
}

export const refusedTensors = (names: readonly string[], target: string): AdapterProblem[] =>
  names.length === 0
    ? []
    : [
        {
          code: 'TENSOR',
          effect: 'refused',
          message: `${target} has no place for ${names.length} of the tensors: ${some(names)}.`,
          fix: MERGE,
        },
      ];

/** The ranks that the tensors have, largest first. */
export const largestRank = (pairs: readonly LoraPair[]): number =>
  Math.max(0, ...pairs.map(rankOf));

export const dora = (target: string): AdapterProblem => ({
  code: 'DORA',
  effect: 'refused',
  message: `it has magnitudes (use_dora), which ${target} does not know.`,
  fix: MERGE,
});
