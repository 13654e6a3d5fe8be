import { z } from 'zod';
import { defineAlignmentObjective } from '../contract/alignmentObjective.js';
import { lengthWeights } from '../losses/lengthWeights.js';
import { logRatios, type PairLogProbs } from '../losses/pairLogProbs.js';
import { checkPairLoss, combinedLoss, dpoLossTypes } from '../losses/pairLosses.js';

const lossType = z.enum(dpoLossTypes);

/** Options of DPO. */
export const dpoOptions = z.strictObject({
  /** Strength of the pull to the reference, above 0; of 'ipo' the paper's tau. Default 0.1. */
  beta: z.number().default(0.1),
  /** The loss, or several that are added up. Default "sigmoid", which is DPO. */
  lossType: z
    .union([lossType, z.array(lossType)])
    .default('sigmoid')
    .meta({ aka: 'loss' }),
  /** Weights of several losses; null: 1 each. Default null. */
  lossWeights: z.array(z.number()).nullable().default(null),
  /**
   * Share of pairs whose labels are taken to be flipped, from 0 to below 0.5. With 'sigmoid' that
   * is conservative DPO; TRL reads it with 'robust', 'exo_pair' and 'aot' alone. Default 0.
   */
  labelSmoothing: z.number().min(0).lt(1).default(0),
  /** What holds the model to its reference. Default "reverse_kl". */
  fDivergenceType: z
    .enum(['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'])
    .default('reverse_kl'),
  /** alpha of "alpha_divergence". Default 0.5. */
  fAlphaDivergenceCoef: z.number().default(0.5),
  /** Temperature of "discopop". Default 0.05. */
  discopopTau: z.number().positive().default(0.05),
  /** Weigh pairs by how likely the model itself is to write them (WPO). Default false. */
  useWeighting: z.boolean().default(false),
  /**
   * Weight of tokens behind the length of the shorter answer (LD-DPO), 0 to 1; null: 1. Default
   * null.
   */
  ldAlpha: z.number().min(0).max(1).nullable().default(null),
});

type DpoOptions = z.output<typeof dpoOptions>;

const list = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? value : [value as T];

/** Options as the pure losses take them. */
const settled = (options: DpoOptions) => ({ ...options, lossType: list(options.lossType) });

/**
 * DPO: the log-ratio of the model to its reference shall be larger for the chosen answer than for
 * the rejected one. Rewards are beta times log-ratios, whatever the loss.
 *
 * @see arXiv 2305.18290
 */
export const dpoObjective = defineAlignmentObjective({
  name: 'dpo',
  format: 'pairs',
  options: dpoOptions,
  needsReference: true,
  check: (options) => checkPairLoss(settled(options)),
  weighs: ({ useWeighting }) => useWeighting,
  tokenWeights: (labels, { ldAlpha }) => (ldAlpha === null ? null : lengthWeights(labels, ldAlpha)),
  loss({ reference, weights, ...pairs }, options) {
    const x: PairLogProbs = {
      ...pairs,
      refChosen: reference!.chosen,
      refRejected: reference!.rejected,
    };
    const ratios = logRatios(x);
    return {
      losses: combinedLoss(x, settled(options), weights ?? undefined),
      rewards: {
        chosen: ratios.chosen.detach().mul(options.beta),
        rejected: ratios.rejected.detach().mul(options.beta),
      },
    };
  },
});
