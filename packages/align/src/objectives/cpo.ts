import { z } from 'zod';
import {
  defineAlignmentObjective,
  type PairBatch,
  type PairOutput,
} from '../contract/alignmentObjective.js';
import { type CpoOptions, cpoLosses, cpoLossTypes, readsMeans } from '../losses/referenceFree.js';

const beta = z.number().positive();

/** Options of CPO. */
export const cpoOptions = z.strictObject({
  /** Temperature of the margin, above 0. Default 0.1. */
  beta: beta.default(0.1),
  /** 'sigmoid', 'hinge', 'ipo' or 'simpo'. Default "sigmoid". */
  lossType: z
    .enum(cpoLossTypes as ['sigmoid', 'hinge', 'ipo', 'simpo'])
    .default('sigmoid')
    .meta({ aka: 'loss' }),
  /** Share of pairs whose labels are taken to be flipped. Default 0. */
  labelSmoothing: z.number().min(0).lt(1).default(0),
  /** Weight of -log p of the chosen answers' tokens, the mean over them. Default 1. */
  cpoAlpha: z.number().min(0).default(1),
  /** Margin of 'simpo'. Default 0.5. */
  simpoGamma: z.number().default(0.5).meta({ aka: 'gamma' }),
  /** alpha of AlphaPO's reward; 0: rewards are log-probabilities. Default 0. */
  alpha: z.number().default(0),
});

/** The losses without a reference, and the chosen answers' negative log-likelihood beside them. */
function referenceFree(
  pairs: PairBatch,
  options: CpoOptions & { readonly cpoAlpha: number },
): PairOutput {
  const { chosenCounts, rejectedCounts, chosenTokens, tokensPerPair } = pairs;
  const { cpoAlpha, lossType = 'sigmoid' } = options;
  const isMean = readsMeans(lossType);
  const chosen = isMean ? pairs.chosen.div(chosenCounts) : pairs.chosen;
  const rejected = isMean ? pairs.rejected.div(rejectedCounts) : pairs.rejected;
  const { losses, rewards } = cpoLosses({ chosen, rejected }, options);
  const nll = chosenTokens.neg().div(tokensPerPair);
  return {
    losses: cpoAlpha === 0 ? losses : losses.add(nll.mul(cpoAlpha)),
    rewards,
    logProbs: { chosen: chosen.detach(), rejected: rejected.detach() },
    metrics: { nllLoss: cpoAlpha === 0 ? nll.detach().mul(0) : nll }, // 0 as TRL logs it
  };
}

/**
 * CPO: DPO with a uniform reference, and the chosen answers learned beside it. `alpha` makes any of
 * its losses AlphaPO's.
 *
 * @see arXiv 2401.08417
 */
export const cpoObjective = defineAlignmentObjective({
  name: 'cpo',
  format: 'pairs',
  options: cpoOptions,
  needsReference: false,
  tokenizesAsCpo: true,
  loss: (pairs, options) => referenceFree(pairs, options),
});

/**
 * SimPO: the mean log-probability of a token is the reward, and the chosen answer's shall be larger
 * by a margin. Without a reference. TRL's is CPO with `lossType: 'simpo'`, whose `cpoAlpha` of 1
 * adds what SimPO has not; here it is 0 unless it is given.
 *
 * @see arXiv 2405.14734
 */
export const simpoObjective = defineAlignmentObjective({
  name: 'simpo',
  format: 'pairs',
  options: z.strictObject({
    /** Temperature of the margin, above 0. The paper takes 2 to 2.5. Default 0.1, as in TRL. */
    beta: beta.default(0.1),
    /** Margin of the chosen answer's logit. The paper takes 0.3 to 1.6. Default 0.5, as in TRL. */
    gamma: z.number().default(0.5).meta({ aka: 'simpogamma' }),
    /** Share of pairs whose labels are taken to be flipped. Default 0. */
    labelSmoothing: z.number().min(0).lt(1).default(0),
    /** Weight of -log p of the chosen answers' tokens. Default 0. */
    cpoAlpha: z.number().min(0).default(0),
  }),
  needsReference: false,
  tokenizesAsCpo: true,
  loss: (pairs, { gamma, ...options }) =>
    referenceFree(pairs, { ...options, lossType: 'simpo', simpoGamma: gamma }),
});

/**
 * AlphaPO: SimPO with the reward (1 - p^-alpha) / alpha in the place of log p, p the mean
 * probability of a token.
 *
 * @see arXiv 2501.03884
 */
export const alphaPoObjective = defineAlignmentObjective({
  name: 'alphapo',
  format: 'pairs',
  options: z.strictObject({
    /** Temperature of the margin, above 0. Default 0.1, as in TRL. */
    beta: beta.default(0.1),
    /** Margin of the chosen answer's logit. Default 0.5, as in TRL. */
    gamma: z.number().default(0.5).meta({ aka: 'simpogamma' }),
    /** Shape of the reward; 0 is SimPO. Default 0.25. */
    alpha: z.number().default(0.25),
    /** Share of pairs whose labels are taken to be flipped. Default 0. */
    labelSmoothing: z.number().min(0).lt(1).default(0),
    /** Weight of -log p of the chosen answers' tokens. Default 0. */
    cpoAlpha: z.number().min(0).default(0),
  }),
  needsReference: false,
  tokenizesAsCpo: true,
  loss: (pairs, { gamma, ...options }) =>
    referenceFree(pairs, { ...options, lossType: 'simpo', simpoGamma: gamma }),
});
