import { AttuneError, ops } from '@attune/core';
import { z } from 'zod';
import type { PeftConfigBase } from '../config.js';
import { definePeftMethod } from '../definePeftMethod.js';
import { patternValue } from '../targets.js';
import { doraForward, doraMagnitude, doraMergedWeight } from './lora/dora.js';
import { loraPlusScale } from './lora/plus.js';
import { defaultTargetModules, fileFields } from './lora/tables.js';

/** What a user may write for LoRA. Names and defaults are PEFT's. */
export interface LoraConfig extends PeftConfigBase {
  readonly peftType: 'LORA';
  /** Rank of the update: trainable parameters are r (in + out) a layer. Usual 4-64. Default 8. */
  readonly r?: number;
  /** The update is scaled by loraAlpha / r. Usual r or 2r. Default 8. */
  readonly loraAlpha?: number;
  /** Dropout of what the adapter reads, while training. Usual 0-0.1. Default 0. */
  readonly loraDropout?: number;
  /** Scale by loraAlpha / sqrt(r) instead, which keeps high ranks learning (arXiv:2312.03732). Default false. */
  readonly useRslora?: boolean;
  /** DoRA: learns a magnitude of each output beside the direction. Slower; better at low ranks (arXiv:2402.09353). Default false. */
  readonly useDora?: boolean;
  /** LoRA+: the learning rate of B, and of all vectors, is this times that of the run. Usual 2-16, with a smaller learningRate. Not in files. Default none. */
  readonly loraplusLrRatio?: number | null;
  /** LoRA+: the learning rate of adapted embeddings, itself and no ratio. Not in files. Default 1e-6. */
  readonly loraplusLrEmbedding?: number;
  /** How A starts: true kaiming-uniform, "gaussian" N(0, 1/r); B is zero for both. false: B is random too. Default true. */
  readonly initLoraWeights?: boolean | 'gaussian';
  /** A rank of its own for layers whose path ends with the key (a regular expression). Default none. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** The same for loraAlpha. Default none. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Gives B a bias. Can be merged into layers that have one. Default false. */
  readonly loraBias?: boolean;
  /** Kept for PEFT, which needs it for GPT-2's transposed layers; Attune's layers know their own layout. Default false. */
  readonly fanInFanOut?: boolean;
}

const rank = z.int().min(1);

/** Initial values of PEFT that take a part of the base's weights away: A and B alone are another model. */
const changesBase = /^(pissa(_niter_\d+)?|olora|corda|loftq|lora_ga)$/;
const initLoraWeights = z.custom<boolean | 'gaussian'>(
  (value) => typeof value === 'boolean' || value === 'gaussian',
  {
    error: ({ input }) =>
      typeof input === 'string' && changesBase.test(input)
        ? `"${input}" changes the base's weights too, so that the adapter fits no other base; PEFT's save_pretrained(folder, path_initial_model_for_weight_conversion=...) makes a plain LoRA of it`
        : 'Expected true, false or "gaussian"',
  },
);

const config = z
  .object({
    r: rank.default(8),
    loraAlpha: z.number().positive().default(8),
    loraDropout: z.number().min(0).lt(1).default(0),
    useRslora: z.boolean().default(false),
    useDora: z.boolean().default(false),
    loraplusLrRatio: z.number().positive().nullable().default(null),
    loraplusLrEmbedding: z.number().positive().default(1e-6),
    initLoraWeights: initLoraWeights.default(true),
    rankPattern: z.record(z.string(), rank).default({}),
    alphaPattern: z.record(z.string(), z.number().positive()).default({}),
    loraBias: z.boolean().default(false),
    fanInFanOut: z.boolean().default(false),
  })
  .refine(({ loraBias, useDora }) => !(loraBias && useDora), {
    path: ['loraBias'],
    error: 'With useDora B has no bias, as in PEFT',
  });

/** alpha / r, with rsLoRA alpha / sqrt(r). */
export const loraScaling = (options: {
  loraAlpha: number;
  r: number;
  useRslora: boolean;
}): number => options.loraAlpha / (options.useRslora ? Math.sqrt(options.r) : options.r);

/**
 * LoRA: y = W x + b + s B A dropout(x), with A [r, in], B [out, r] and s = alpha / r.
 *
 * A starts uniform in +-1/sqrt(in), B at 0, so that step 0 is the base model. Only A and B are
 * trained, in float32; W may be stored in 16 bits or quantised. With useDora the formula is that of lora/dora.ts.
 *
 * @see arXiv:2106.09685 (Hu et al.), eq. 3; arXiv:2312.03732 (rsLoRA). The paper draws A from a normal
 *   distribution; the default here is PEFT's. "gaussian" has standard deviation 1/r, as in PEFT.
 */
export const lora = definePeftMethod({
  peftType: 'LORA',
  config,
  params: (layer, { r, initLoraWeights: init, loraBias, useDora, ...options }) => ({
    A: {
      shape: [r, layer.inFeatures],
      init: init === 'gaussian' ? { normal: 1 / r } : 'kaimingUniform',
      key: 'lora_A.weight',
    },
    B: {
      shape: [layer.outFeatures, r],
      init: init === false ? 'kaimingUniform' : 'zeros',
      key: 'lora_B.weight',
    },
    ...(loraBias && {
      bias: {
        shape: [layer.outFeatures],
        // PyTorch's default for the bias of B, a linear layer of r inputs.
        init: init === false ? { uniform: 1 / Math.sqrt(r) } : 'zeros',
        key: 'lora_B.bias',
      },
    }),
    ...(useDora && { magnitude: doraMagnitude(layer, loraScaling({ ...options, r })) }),
  }),
  forward: (x, base, p, options, context) => {
    const scale = loraScaling(options);
    if (p.magnitude)
      return doraForward(x, base, { ...p, magnitude: p.magnitude }, { ...options, scale }, context);
    const low = ops.linear(context.dropout(x, options.loraDropout), p.A); // [.., r]
    const y = base(x);
    const addend = p.bias ? y.add(p.bias.mul(scale)) : y;
    return low.matmul(p.B, { transposeB: true, scale, addend }); // [.., out]
  },
  mergedWeight: (weight, p, options, context) => {
    const { layer } = context;
    if (p.magnitude)
      return doraMergedWeight(
        weight,
        { ...p, magnitude: p.magnitude },
        loraScaling(options),
        context,
      );
    if (p.bias && !layer.hasBias)
      throw new AttuneError(
        'PEFT_NOT_MERGEABLE',
        `loraBias cannot be merged into ${layer.path}, which has no bias of its own.`,
        { remedy: 'Keep the adapter as it is, or train one without loraBias.' },
      );
    return weight.add(p.B.matmul(p.A).mul(loraScaling(options))); // W + s B A
  },
  mergedBias: (bias, p, options) => (p.bias ? bias.add(p.bias.mul(loraScaling(options))) : bias),
  layerConfig: (options, path) => ({
    ...options,
    r: patternValue(options.rankPattern, path) ?? options.r,
    loraAlpha: patternValue(options.alphaPattern, path) ?? options.loraAlpha,
  }),
  defaultTargetModules,
  // How it started does not matter any more.
  fromFile: (fields) =>
    fields.initLoraWeights === 'orthogonal' || fields.initLoraWeights === 'eva'
      ? { ...fields, initLoraWeights: true, evaConfig: null }
      : fields,
  fileFields,
  unsaved: ['loraplusLrRatio', 'loraplusLrEmbedding'],
  lrScale: loraPlusScale,
});
