import type { Tensor } from '@attune/core';
import { type PairValues, smoothedLogistic } from './pairLogProbs.js';

/** Losses of `CPOTrainer`, by TRL's `loss_type`. */
export type CpoLossType = 'sigmoid' | 'hinge' | 'ipo' | 'simpo';

/** All names, for option schemas. */
export const cpoLossTypes: readonly CpoLossType[] = ['sigmoid', 'hinge', 'ipo', 'simpo'];

/** Losses that read log-probabilities per token; the others read their sums. */
export const readsMeans = (lossType: CpoLossType): boolean =>
  lossType === 'ipo' || lossType === 'simpo';

/** Coefficients of losses without a reference. Defaults are TRL's. */
export interface CpoOptions {
  /** Temperature of the margin, above 0. TRL: 0.1; the paper of SimPO takes 2 to 2.5. */
  readonly beta: number;
  /** Default 'sigmoid'. */
  readonly lossType?: CpoLossType;
  /**
   * Share of pairs whose labels are taken to be flipped; `sigmoid` and `simpo` read it. Default 0.
   */
  readonly labelSmoothing?: number;
  /** Margin of `simpo`, in units of the logit. Default 0.5; the paper takes 0.3 to 1.6. */
  readonly simpoGamma?: number;
  /** alpha of AlphaPO, of any of the losses. Default 0: rewards are log-probabilities. */
  readonly alpha?: number;
}

/** What {@link cpoLosses} gives. */
export interface CpoLosses {
  /** One loss for each pair, [B]. */
  readonly losses: Tensor;
  /** beta times the reward of each answer, [B] each. No gradient. */
  readonly rewards: PairValues;
}

/**
 * AlphaPO's reward of an answer: (1 - p^-alpha) / alpha with p = exp(log p), which tends to log p
 * as alpha tends to 0.
 *
 * @param logProbs log p, nats, [B]: means over tokens in the paper
 * @see arXiv 2501.03884
 */
export const alphaReward = (logProbs: Tensor, alpha: number): Tensor =>
  alpha === 0 ? logProbs : logProbs.mul(-alpha).exp().neg().add(1).div(alpha);

/**
 * Losses of pairs without a reference, with d = r(chosen) - r(rejected):
 *
 * - `sigmoid` (CPO): -(1 - e) ls(beta d) - e ls(-beta d) of sums
 * - `simpo`: the same of beta d - gamma of means
 * - `hinge`: max(0, 1 - beta d) of sums
 * - `ipo`: (d - 1 / (2 beta))^2 of means
 *
 * CPO and TRL's SimPO add `cpoAlpha` times the mean -log p of the chosen answers' tokens; that is
 * not part of this function.
 *
 * @param logProbs log p of each answer, nats, [B]: means over tokens where `readsMeans(lossType)`,
 *   else sums
 * @see arXiv 2401.08417 (CPO), 2405.14734 (SimPO), 2501.03884 (AlphaPO)
 */
export function cpoLosses(logProbs: PairValues, options: CpoOptions): CpoLosses {
  const { beta, lossType = 'sigmoid', labelSmoothing = 0, simpoGamma = 0.5, alpha = 0 } = options;
  const chosen = alphaReward(logProbs.chosen, alpha);
  const rejected = alphaReward(logProbs.rejected, alpha);
  const difference = chosen.sub(rejected);
  const losses = {
    sigmoid: () => smoothedLogistic(difference.mul(beta), labelSmoothing),
    simpo: () => smoothedLogistic(difference.mul(beta).sub(simpoGamma), labelSmoothing),
    hinge: () => difference.mul(-beta).add(1).relu(),
    ipo: () => difference.sub(0.5 / beta).square(),
  }[lossType]();
  const reward = (r: Tensor) => r.detach().mul(beta);
  return { losses, rewards: { chosen: reward(chosen), rejected: reward(rejected) } };
}
