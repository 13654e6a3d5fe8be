import { AttuneError, type Tensor } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import type { LayerInfo } from '../contract/layerInfo.js';
import { fullMatch } from '../contract/patterns.js';

const shape = {
  /**
   * Those of targetModules whose input is scaled, not the output: a list of ends of paths, or a
   * regular expression for the whole path. Default: by model type, as in PEFT (`down_proj` on Llama
   * and its relatives).
   */
  feedforwardModules: z
    .union([z.array(z.string().min(1)), z.string()])
    .nullable()
    .default(null),
  /** Factors start at 1; false: N(0, 1), for tests. Default true. */
  initIa3Weights: z.boolean().default(true),
  /**
   * Kept for PEFT, which needs it for GPT-2's transposed layers; Attune's layers know their own
   * layout. Default false.
   */
  fanInFanOut: z.boolean().default(false),
};
const config = z.object(shape);

/** What a user may write for (IA)³. Names and defaults are PEFT's. */
export interface Ia3Config
  extends OptionsInput<typeof shape>,
    Omit<PeftConfigBase, 'bias' | 'layersToTransform' | 'layersPattern'> {
  /** (IA)3: one learned factor for each feature of keys, values and the MLP's inner layer. */
  readonly peftType: 'IA3';
}

/** By `model_type`: what is scaled at its output, and what at its input. */
const defaults: Readonly<
  Record<string, { readonly output: readonly string[]; readonly input: readonly string[] }>
> = {
  llama: { output: ['k_proj', 'v_proj'], input: ['down_proj'] },
  mistral: { output: ['k_proj', 'v_proj'], input: ['down_proj'] },
  mixtral: { output: ['k_proj', 'v_proj'], input: ['w2'] },
  qwen2: { output: ['q_proj', 'v_proj'], input: ['down_proj'] },
  qwen3: { output: ['q_proj', 'v_proj'], input: ['down_proj'] },
  gemma: { output: ['q_proj', 'v_proj'], input: ['down_proj'] },
  gemma2: { output: ['q_proj', 'v_proj'], input: ['down_proj'] },
  gemma3_text: { output: ['q_proj', 'v_proj'], input: ['down_proj'] },
  phi: { output: ['q_proj', 'v_proj'], input: ['fc2'] },
  gpt2: { output: ['c_attn'], input: ['mlp.c_proj'] },
  gpt_neox: { output: ['query_key_value'], input: ['dense_4h_to_h'] },
  gptj: { output: ['q_proj', 'v_proj'], input: ['fc_out'] },
  opt: { output: ['q_proj', 'k_proj'], input: ['fc2'] },
  bloom: { output: ['query_key_value'], input: ['mlp.dense_4h_to_h'] },
  falcon: { output: ['query_key_value'], input: ['dense_4h_to_h'] },
};

type Names = readonly string[] | string;

/** PEFT's rule for a list here is a plain suffix, for a string the whole path. */
const isFeedforward = (names: Names | null, path: string): boolean =>
  typeof names === 'string'
    ? fullMatch(names, path)
    : (names ?? []).some((name) => path.endsWith(name));

/** Factors [1, in] scale what a layer takes, [out, 1] what it gives. */
const scalesInput = (l: Tensor, { inFeatures }: LayerInfo): boolean =>
  l.shape[0] === 1 && l.shape[1] === inFeatures;

/**
 * The default, as far as it is targeted: PEFT reads no file whose feedforward modules are not among
 * the targets.
 */
function feedforwardOf(modelType: string, targets: Names | null): string[] {
  const known = defaults[modelType]?.input;
  if (!known)
    throw new AttuneError(
      'PEFT_TARGETS_NEEDED',
      `IA3 has no default feedforwardModules for ${modelType}.`,
      { remedy: 'Give feedforwardModules: those of targetModules in feed-forward blocks, or [].' },
    );
  if (targets === null || typeof targets === 'string') return [...known];
  return targets.filter((target) => known.some((name) => target.endsWith(name)));
}

/**
 * (IA)³: one factor for each feature. Attention layers scale what they give, y = l (W x + b) with l
 * [out, 1]; feed-forward layers what they take, y = W (l x) + b with l [1, in]. l starts at 1, so
 * that step 0 is the base.
 *
 * @see arXiv:2205.05638 (Liu et al.), section 3.3. As in PEFT, whole layers are scaled where the
 *   paper scales keys, values and the activation between the feed-forward layers: the same for
 *   layers without heads in common. PEFT unmerges by division, which is off by rounding; here the
 *   weights are put back.
 */
export const ia3 = definePeftMethod({
  peftType: 'IA3',
  config,
  without: ['bias', 'layersToTransform', 'layersPattern'],
  resolve: (options, { modelType }) => {
    const { targetModules: targets, feedforwardModules: given } = options;
    const stray = Array.isArray(given) && Array.isArray(targets) ? given : [];
    const missing = stray.filter((name) => !targets!.includes(name));
    if (missing.length > 0)
      throw new AttuneError(
        'PEFT_CONFIG_INVALID',
        `feedforwardModules ${JSON.stringify(missing)} are not in targetModules ${JSON.stringify(targets)}.`,
        { remedy: 'Name them in targetModules too: feedforwardModules says how, not which.' },
      );
    return { ...options, feedforwardModules: given ?? feedforwardOf(modelType, targets) };
  },
  params: (layer, { feedforwardModules, initIa3Weights }) => ({
    l: {
      shape: isFeedforward(feedforwardModules, layer.path)
        ? [1, layer.inFeatures]
        : [layer.outFeatures, 1],
      init: initIa3Weights ? 'ones' : { normal: 1 },
      key: 'ia3_l',
    },
  }),
  forward: (x, base, { l }, _, { layer }) =>
    scalesInput(l, layer)
      ? base(x.mul(l.reshape(layer.inFeatures)))
      : base(x).mul(l.reshape(layer.outFeatures)),
  mergedWeight: (weight, { l }) => weight.mul(l), // [out, in] * [out, 1] or [1, in]
  mergedBias: (bias, { l }, _, { layer }) =>
    scalesInput(l, layer) ? bias : bias.mul(l.reshape(layer.outFeatures)),
  defaultTargetModules: Object.fromEntries(
    Object.entries(defaults).map(([type, { output, input }]) => [type, [...output, ...input]]),
  ),
});
