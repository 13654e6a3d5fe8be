import type { Tensor } from '@attune/core';
import {
  type DivergenceType,
  logRatios,
  type PairLogProbs,
  type PairLossOptions,
  type PairValues,
} from './pairLogProbs.js';

/** Above it exp leaves float32 (TRL clamps there too). */
const LARGEST_EXPONENT = 80;

/** f'(t) at t = exp(u), for each divergence. */
const derivatives: Readonly<Record<DivergenceType, (u: Tensor, alpha: number) => Tensor>> = {
  reverse_kl: (u) => u, // log t, without a constant that cancels in the difference
  forward_kl: (u) => u.neg().exp().neg().add(1), // 1 - 1/t
  js_divergence: (u) => u.logSigmoid().add(Math.LN2), // log(2 t / (1 + t))
  // (t^(a-1) - 1) / (a - 1), which tends to log t as a tends to 1
  alpha_divergence: (u, alpha) => {
    const power = alpha - 1;
    if (Math.abs(power) < 1e-6) return u;
    const exponent = u.mul(power).minimum(u.engine.full([], LARGEST_EXPONENT));
    return exponent.exp().sub(1).div(power);
  },
};

/** Divergences by name, for option schemas. */
export const divergenceTypes = Object.keys(derivatives) as readonly DivergenceType[];

/**
 * Scores of both answers under an f-divergence: f'(p / p_ref), [B] each. Their difference times
 * beta is the logit of the preference. Losses that read one answer by itself have no such form.
 *
 * @see arXiv 2309.16240
 */
export function pairScores(x: PairLogProbs, options: PairLossOptions): PairValues {
  const { fDivergenceType = 'reverse_kl', fAlphaDivergenceCoef = 0.5 } = options;
  const ratios = logRatios(x);
  const score = derivatives[fDivergenceType];
  return {
    chosen: score(ratios.chosen, fAlphaDivergenceCoef),
    rejected: score(ratios.rejected, fAlphaDivergenceCoef),
  };
}

/** Score of the chosen answer less that of the rejected one, [B]: log-ratios in nats. */
export function scoreDifference(x: PairLogProbs, options: PairLossOptions): Tensor {
  const scores = pairScores(x, options);
  return scores.chosen.sub(scores.rejected);
}

/** The same of the scores over their answers' tokens: per-token log-ratios. */
export function meanScoreDifference(x: PairLogProbs, options: PairLossOptions): Tensor {
  const scores = pairScores(x, options);
  return scores.chosen.div(x.chosenCounts).sub(scores.rejected.div(x.rejectedCounts));
}
