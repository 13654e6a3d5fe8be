import type { Tensor } from '@attune/core';
import { type PairValues, softplusNeg } from './pairLogProbs.js';

/** What modifies the loss of a reward model. */
export interface BradleyTerryOptions {
  /** By how much each chosen answer should be better, in units of reward, [B]. Default 0 each. */
  readonly margins?: Tensor;
  /**
   * Weight of (r_w + r_l)^2, which keeps rewards around 0. Null (default): none; the paper takes
   * 0.01.
   */
  readonly centerRewardsCoefficient?: number | null;
}

/**
 * -log sigmoid(r_w - r_l - margin) + c (r_w + r_l)^2 of the rewards of B pairs, [B].
 *
 * @see arXiv 2203.02155, equation 1; 2307.09288 for the margin; 2312.09244 for c
 */
export function bradleyTerry(
  { chosen, rejected }: PairValues,
  { margins, centerRewardsCoefficient }: BradleyTerryOptions = {},
): Tensor {
  const difference = chosen.sub(rejected);
  const losses = softplusNeg(margins ? difference.sub(margins) : difference);
  return centerRewardsCoefficient
    ? losses.add(chosen.add(rejected).square().mul(centerRewardsCoefficient))
    : losses;
}
