import { ops, type Tensor } from '@attune/core';

/** What the clipped policy loss reads, of one shape, e.g. [B, T]. */
export interface PolicyTerms {
  /** log p of each token under the policy as it is; differentiable. */
  readonly logProbs: Tensor;
  /** The same under the policy that wrote them. */
  readonly oldLogProbs: Tensor;
  readonly advantages: Tensor;
}

/** What {@link ppoPolicyLoss} gives, in the shape of its terms. */
export interface PolicyLoss {
  readonly losses: Tensor;
  /** p / p_old. Differentiable. */
  readonly ratios: Tensor;
  /** 1 where the clipped loss is the larger one, else 0. Not differentiable. */
  readonly clipped: Tensor;
}

/**
 * The clipped policy loss of each token:
 *
 *     max(-A r, -A clip(r, 1 - e, 1 + e)),   r = p / p_old
 *
 * @param cliprange e. TRL's default 0.2
 * @see arXiv:1707.06347, equation 7
 */
export function ppoPolicyLoss(
  { logProbs, oldLogProbs, advantages }: PolicyTerms,
  cliprange: number,
): PolicyLoss {
  const ratios = logProbs.sub(oldLogProbs).exp();
  const gain = advantages.neg();
  const free = gain.mul(ratios);
  const held = gain.mul(clip(ratios, 1 - cliprange, 1 + cliprange));
  return { losses: free.maximum(held), ratios, clipped: isLarger(held, free) };
}

/** What the clipped value loss reads, of one shape. */
export interface ValueTerms {
  /** What the value head says now; differentiable. */
  readonly values: Tensor;
  /** What it said when the answers were written. */
  readonly oldValues: Tensor;
  readonly returns: Tensor;
}

/** What {@link ppoValueLoss} gives, in the shape of its terms. */
export interface ValueLoss {
  readonly losses: Tensor;
  /** 1 where the clipped loss is the larger one, else 0. Not differentiable. */
  readonly clipped: Tensor;
}

/**
 * The clipped value loss of each place:
 *
 *     1/2 max((V - R)^2, (clip(V, V_old - e, V_old + e) - R)^2)
 *
 * @param cliprange e. TRL's default 0.2
 */
export function ppoValueLoss(
  { values, oldValues, returns }: ValueTerms,
  cliprange: number,
): ValueLoss {
  // Between the bounds it is the value itself, bit for bit: nothing counts as clipped by rounding.
  const near = values.maximum(oldValues.sub(cliprange)).minimum(oldValues.add(cliprange));
  const free = values.sub(returns).square();
  const held = near.sub(returns).square();
  return { losses: free.maximum(held).mul(0.5), clipped: isLarger(held, free) };
}

const clip = (x: Tensor, low: number, high: number): Tensor =>
  x.maximum(x.engine.full([], low)).minimum(x.engine.full([], high));

const isLarger = (a: Tensor, b: Tensor): Tensor =>
  a.engine.noGrad(() => ops.greater(a.detach(), b.detach()));
