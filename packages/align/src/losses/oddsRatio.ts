import { ops, type Tensor } from '@attune/core';

/** Nearest to 0 that a mean log-probability is taken to be: half of float32's step below 1. */
const NEAREST_TO_ZERO = -(2 ** -24);

/** Terms of the series of (1 - e^x) / -x that reach 1e-9 at x = -ln 2. */
const SERIES_TERMS = 11;

/**
 * log(1 - e^x) for x at most 0, without cancellation: below -ln 2 as written, above it by the
 * series 1 - e^x = -x (1 + x/2! + x^2/3! + ...). x is kept at least 2^-24 below 0, where the result
 * would be minus infinity: log1mexp(0) is -16.6.
 *
 * @param x log-probabilities, any shape
 */
export function log1mexp(x: Tensor): Tensor {
  const { engine } = x;
  const below = x.minimum(engine.full([], NEAREST_TO_ZERO));
  // Both forms are computed everywhere: each is given a harmless number where the other one counts.
  const isNear = ops.greater(below, engine.full([], -Math.LN2));
  const isFar = isNear.neg().add(1);
  const near = below.mul(isNear).sub(isFar.mul(Math.LN2));
  const far = below.mul(isFar).sub(isNear.mul(Math.LN2));
  let series = near.mul(1 / SERIES_TERMS).add(1);
  for (let n = SERIES_TERMS - 1; n >= 2; n--) series = series.mul(near).div(n).add(1);
  const ofNear = series.mul(near).neg().log();
  const ofFar = far.exp().neg().add(1).log();
  return ofNear.mul(isNear).add(ofFar.mul(isFar));
}

/** Odds of two answers against each other. */
export interface OddsRatio {
  /** log odds(chosen) - log odds(rejected), [B]. */
  readonly logOdds: Tensor;
  /** log sigmoid of it, [B]. */
  readonly ratio: Tensor;
}

/**
 * Log of the ratio of odds p / (1 - p), where p = exp(mean log-probability of a token).
 *
 * @param chosen mean log p of the tokens of the chosen answers, nats, [B]
 * @param rejected the same of the rejected ones, [B]
 * @see arXiv 2403.07691, equations 4 and 7
 */
export function oddsRatio(chosen: Tensor, rejected: Tensor): OddsRatio {
  const logOdds = chosen.sub(rejected).sub(log1mexp(chosen).sub(log1mexp(rejected)));
  return { logOdds, ratio: logOdds.logSigmoid() };
}
