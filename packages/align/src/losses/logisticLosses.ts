import { meanScoreDifference, scoreDifference } from './divergences.js';
import { logRatios, type PairLoss, smoothedLogistic, softplusNeg } from './pairLogProbs.js';

/**
 * DPO: -(1 - e) ls(beta d) - e ls(-beta d), where ls is log sigmoid and d the difference of scores
 * (of log-ratios). With e = 0 that is TRL's `sigmoid`; TRL ignores `labelSmoothing` here, we apply
 * it (conservative DPO).
 *
 * @see arXiv 2305.18290, equation 7; for e https://ericmitchell.ai/cdpo.pdf
 */
export const sigmoid: PairLoss = (x, options) =>
  smoothedLogistic(scoreDifference(x, options).mul(options.beta), options.labelSmoothing);

/**
 * -ls(beta d), where d is the difference of scores per answer token: long answers gain nothing by
 * their length.
 *
 * @see arXiv 2411.15124
 */
export const sigmoidNorm: PairLoss = (x, options) =>
  softplusNeg(meanScoreDifference(x, options).mul(options.beta));

/**
 * Robust DPO: (-(1 - e) ls(beta d) + e ls(-beta d)) / (1 - 2 e), whose mean over flipped labels is
 * the loss of clean ones. e is below 0.5; the paper takes 0.1. A loss can be negative.
 *
 * @see arXiv 2403.00409
 */
export const robust: PairLoss = (x, options) => {
  const { beta, labelSmoothing: e = 0 } = options;
  const logits = scoreDifference(x, options).mul(beta);
  const [clean, flipped] = [softplusNeg(logits), softplusNeg(logits.neg())];
  return clean
    .mul(1 - e)
    .sub(flipped.mul(e))
    .div(1 - 2 * e);
};

/**
 * EXO for two answers: KL(q || [1 - e, e]) with q = sigmoid(beta d). e is above 0; the paper takes
 * 0.001.
 *
 * @see arXiv 2402.00856, equation 16
 */
export const exoPair: PairLoss = (x, options) => {
  const { beta, labelSmoothing: e = 0 } = options;
  const logits = scoreDifference(x, options).mul(beta);
  const other = logits.neg();
  const chosen = logits.sigmoid().mul(logits.logSigmoid().sub(Math.log1p(-e)));
  return chosen.add(other.sigmoid().mul(other.logSigmoid().sub(Math.log(e))));
};

/**
 * NCA: -ls(r_w) - ls(-r_w) / 2 - ls(-r_l) / 2 with the rewards r = beta log p / p_ref: the chosen
 * answer's probability itself is held up, not only the margin.
 *
 * @see arXiv 2402.05369
 */
export const ncaPair: PairLoss = (x, { beta }) => {
  const { chosen, rejected } = logRatios(x);
  const [win, lose] = [chosen.mul(beta), rejected.mul(beta)];
  return softplusNeg(win).add(softplusNeg(win.neg()).add(softplusNeg(lose.neg())).mul(0.5));
};

/**
 * BCO: -ls(r_w) - ls(-r_l), a classifier of single answers. TRL takes the paper's reward shift as
 * 0, and so do we.
 *
 * @see arXiv 2404.04656
 */
export const bcoPair: PairLoss = (x, { beta }) => {
  const { chosen, rejected } = logRatios(x);
  return softplusNeg(chosen.mul(beta)).add(softplusNeg(rejected.mul(-beta)));
};

/**
 * DiscoPOP, the log-ratio modulated loss: (1 - m) (-ls(z)) + m exp(-z) with z = beta d and
 * m = sigmoid(z / tau).
 *
 * m exp(-z) is taken as exp(ls(z / tau) - z): far below 0 the factors are 0 and infinite.
 *
 * @see arXiv 2406.08414, equation 5
 */
export const discopop: PairLoss = (x, options) => {
  const { beta, discopopTau: tau = 0.05 } = options;
  const logits = scoreDifference(x, options).mul(beta);
  const modulation = logits.div(tau);
  const logistic = softplusNeg(logits).mul(modulation.neg().sigmoid());
  return logistic.add(modulation.logSigmoid().sub(logits).exp());
};
