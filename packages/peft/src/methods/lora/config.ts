import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { PeftConfigBase } from '../../contract/config.js';
import type { InitLoraWeights } from './factors.js';
import { startsFromBase } from './start.js';

const rank = z.int().min(1);

const initLoraWeights = z.custom<InitLoraWeights>(
  (value) =>
    typeof value === 'boolean' ||
    value === 'gaussian' ||
    value === 'orthogonal' ||
    startsFromBase(value),
  {
    error:
      'Expected true, false, "gaussian", "orthogonal", "pissa", "pissa_niter_<passes>" or "olora"',
  },
);

/** LoRA's own options, with PEFT's defaults. */
const loraShape = {
  /** Rank of the update: trainable parameters are r (in + out) a layer. Usual 4-64. Default 8. */
  r: rank.default(8).meta({ aka: 'rank lorar lorarank' }),
  /** The update is scaled by loraAlpha / r. Usual r or 2r. Default 8. */
  loraAlpha: z.number().positive().default(8).meta({ aka: 'alpha' }),
  /** Dropout of what the adapter reads, while training. Usual 0-0.1. Default 0. */
  loraDropout: z.number().min(0).lt(1).default(0).meta({ aka: 'dropout' }),
  /**
   * Scale by loraAlpha / sqrt(r) instead, which keeps high ranks learning (arXiv:2312.03732).
   * Default false.
   */
  useRslora: z.boolean().default(false).meta({ aka: 'rslora' }),
  /**
   * DoRA: learns a magnitude of each output beside the direction. Slower; better at low ranks
   * (arXiv:2402.09353). Default false.
   */
  useDora: z.boolean().default(false).meta({ aka: 'dora' }),
  /**
   * LoRA+: the learning rate of B, and of all vectors, is this times that of the run. Usual 2-16,
   * with a smaller learningRate. Not in files. Default none.
   */
  loraplusLrRatio: z.number().positive().nullable().default(null).meta({ aka: 'loraplus' }),
  /**
   * LoRA+: the learning rate of adapted embeddings, itself and no ratio. Not in files. Default
   * 1e-6.
   */
  loraplusLrEmbedding: z.number().positive().default(1e-6),
  /**
   * How A starts: true kaiming-uniform, "gaussian" N(0, 1/r); B is zero for both. false: B is
   * random too. "orthogonal": both random with B A = 0, of an even rank (lora/factors.ts). "pissa",
   * "pissa_niter_4", "olora": with a part of the weight (lora/start.ts); "pissa" is exact and takes
   * seconds to half a minute for each matrix of width 1024 to 2048, "pissa_niter_4" a fraction of
   * it. Embeddings start with A zero and B N(0, 1). Default true.
   */
  initLoraWeights: initLoraWeights.default(true).meta({ aka: 'init initweights' }),
  /**
   * A rank of its own for layers whose path ends with the key (a regular expression). Default none.
   */
  rankPattern: z.record(z.string(), rank).default({}),
  /** The same for loraAlpha. Default none. */
  alphaPattern: z.record(z.string(), z.number().positive()).default({}),
  /** Gives B a bias. Can be merged into layers that have one. Default false. */
  loraBias: z.boolean().default(false),
  /**
   * Kept for PEFT, which needs it for GPT-2's transposed layers; Attune's layers know their own
   * layout. Default false.
   */
  fanInFanOut: z.boolean().default(false),
};

/** With what they rule out together. */
export const loraOptions = z
  .object(loraShape)
  .refine(({ loraBias, useDora }) => !(loraBias && useDora), {
    path: ['loraBias'],
    error: 'With useDora B has no bias, as in PEFT',
  });

/** What a user may write for LoRA. Names and defaults are PEFT's. */
export interface LoraConfig extends OptionsInput<typeof loraShape>, PeftConfigBase {
  /** LoRA: a learned product of two low-rank matrices beside each adapted weight. */
  readonly peftType: 'LORA';
}
