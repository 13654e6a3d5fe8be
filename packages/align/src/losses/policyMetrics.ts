import { type LossOutput, ops, type Tensor } from '@attune/core';
import { isClipping, type PolicyGradient, type PolicyOptions } from './policyGradient.js';

type Metrics = NonNullable<LossOutput['metrics']>;

/** What the metrics of a policy gradient are computed from. */
export interface PolicyMetricFacts {
  readonly gradient: PolicyGradient;
  /** [B, T]: of the whole distribution at each completion token, nats. */
  readonly entropy: Tensor;
  /** [B, T] */
  readonly logProbs: Tensor;
  readonly refLogProbs?: Tensor | undefined;
  /** [B, T] */
  readonly mask: Tensor;
  /** [B]: at least 1. */
  readonly counts: Tensor;
  /** [B] */
  readonly advantages: Tensor;
}

/**
 * What TRL's GRPOTrainer logs of a micro-batch: `kl`, `entropy`, `clip_ratio/...`, each a mean over
 * its tokens (over its completions, of ratios of whole sequences); a log has the mean over
 * micro-batches. And per completion `objective/entropy`, the sum of -log p, and `objective/kl`, the
 * sum of log p - log p_ref.
 */
export function policyMetrics(
  x: PolicyMetricFacts,
  options: Pick<PolicyOptions, 'lossType' | 'epsilonLow' | 'epsilonHigh'>,
): Metrics {
  const { gradient, entropy, logProbs, refLogProbs, mask } = x;
  const { engine } = mask;
  return engine.noGrad(() => {
    const numRows = mask.shape[0]!;
    const mean = tokenMean(mask);
    const entropies = mean(entropy);
    const metrics: Record<string, Metrics[string]> = {
      entropy: entropies,
      'policy/entropy_avg': entropies,
      'objective/entropy': { sum: one(logProbs.sum().neg()), count: numRows },
    };
    if (gradient.kl) metrics.kl = mean(gradient.kl);
    if (refLogProbs)
      metrics['objective/kl'] = { sum: one(logProbs.sub(refLogProbs).sum()), count: numRows };
    if (gradient.phi) metrics['vespo/phi_seq_mean'] = mean(gradient.phi);
    const clips = clipMetrics(x, options);
    return { ...metrics, ...clips };
  });
}

function clipMetrics(
  { gradient: { ratio }, advantages, mask, counts }: PolicyMetricFacts,
  {
    lossType,
    epsilonLow,
    epsilonHigh,
  }: Pick<PolicyOptions, 'lossType' | 'epsilonLow' | 'epsilonHigh'>,
): Metrics {
  const { isLow, isHigh } = clipsOf(ratio, advantages.unsqueeze(1), { epsilonLow, epsilonHigh });
  const mean = tokenMean(mask);
  if (lossType === 'cispo') {
    const { isHigh: isAbove } = clipsOf(ratio, advantages.unsqueeze(1), {
      epsilonLow,
      epsilonHigh: epsilonHigh - 1,
    });
    return { cispoClipRatio: mean(isAbove) };
  }
  if (!isClipping(lossType)) return {};
  const isToken = ratio.shape[1] !== 1;
  /** The share of each completion; of one without tokens there is none. */
  const shareOf = (clips: Tensor) =>
    isToken ? clips.mul(mask).sum(1).div(counts) : clips.reshape(-1);
  const has = isToken ? ops.greater(mask.sum(1), zero(mask)) : ones(counts);
  return {
    'clip_ratio/low_mean': mean(isLow),
    'clip_ratio/high_mean': mean(isHigh),
    'clip_ratio/region_mean': mean(isLow.add(isHigh)),
    'clip_ratio/low_min': leastOf(shareOf(isLow), has),
    'clip_ratio/high_max': mostOf(shareOf(isHigh), has),
  };
}

/** Where ratios are clipped, 1 or 0: too low for a bad completion, too high for a good one. */
export function clipsOf(
  ratio: Tensor,
  advantage: Tensor,
  { epsilonLow, epsilonHigh }: Pick<PolicyOptions, 'epsilonLow' | 'epsilonHigh'>,
): { readonly isLow: Tensor; readonly isHigh: Tensor } {
  const { engine } = ratio;
  const limit = (value: number) => engine.full([], value);
  return {
    isLow: ops.less(ratio, limit(1 - epsilonLow)).mul(ops.less(advantage, zero(advantage))),
    isHigh: ops.greater(ratio, limit(1 + epsilonHigh)).mul(ops.greater(advantage, zero(advantage))),
  };
}

/** The mean of a micro-batch: over the tokens of `mask`, or over rows where there is one a row. */
const tokenMean =
  (mask: Tensor) =>
  (x: Tensor): Metrics[string] => {
    if (x.shape[1] === 1) return { sum: one(x.mean()), count: 1 };
    const tokens = mask.sum().maximum(mask.engine.full([], 1));
    return { sum: one(x.mul(mask).sum().div(tokens)), count: 1 };
  };

/** The smallest of the rows that have one; without any there is no metric. @param x [B], 0 to 1 */
export const leastOf = (x: Tensor, has: Tensor): Metrics[string] => {
  const isAny = has.max(0);
  const least = x.add(has.neg().add(1).mul(2)).neg().max(0).neg(); // rows without one are above all
  return { sum: one(least.mul(isAny)), count: one(isAny) };
};

/** The largest of the rows that have one. @param x [B], 0 to 1 */
export const mostOf = (x: Tensor, has: Tensor): Metrics[string] => ({
  sum: one(x.mul(has).max(0)),
  count: one(has.max(0)),
});

const one = (x: Tensor): Tensor => x.reshape(1);
const zero = ({ engine }: Tensor): Tensor => engine.full([], 0);
const ones = (x: Tensor): Tensor => x.engine.full(x.shape, 1);
