import type { Tensor } from '@attune/core';

/** What WPO reads of [chosen; rejected], 2 B rows. */
export interface WeightedTokens {
  /** log p of each answer token, 0 elsewhere: float32 [2 B, T]. */
  readonly logProbs: Tensor;
  /** log sum over the vocabulary of p^2, 0 where there is no answer token: float32 [2 B, T]. */
  readonly concentration: Tensor;
  /** Answer tokens of each row, at least 1: float32 [2 B]. */
  readonly counts: Tensor;
}

/**
 * Weights of WPO, [B]: w(chosen) w(rejected), where w(y) = exp(mean over tokens of
 * (log p(y_t) - log sum_v p_v^2)). Answers that the policy itself could have written weigh more. No
 * gradient.
 *
 * @see arXiv 2406.11827, equation 2
 */
export function pairWeights({ logProbs, concentration, counts }: WeightedTokens): Tensor {
  const { engine } = logProbs;
  const count = counts.size / 2;
  return engine.noGrad(() => {
    const weights = logProbs.sub(concentration).sum(1).div(counts).exp(); // [2 B]
    return weights.slice(0, 0, count).mul(weights.slice(0, count, 2 * count));
  });
}
