import { meanScoreDifference, scoreDifference } from './divergences.js';
import { logRatios, type PairLoss } from './pairLogProbs.js';

/**
 * max(0, 1 - beta d), d the difference of scores: a pair whose margin is 1 is left alone.
 *
 * @see arXiv 2305.10425 (SLiC), 2309.06657
 */
export const hinge: PairLoss = (x, options) =>
  scoreDifference(x, options).mul(-options.beta).add(1).relu();

/**
 * IPO: (d - 1 / (2 beta))^2, where d is the difference of scores per answer token. The paper sums
 * them; its authors confirmed the mean to TRL.
 *
 * @see arXiv 2310.12036, equation 17
 */
export const ipo: PairLoss = (x, options) =>
  meanScoreDifference(x, options)
    .sub(0.5 / options.beta)
    .square();

/**
 * SPPO with hard labels: (u_w - 1 / (2 beta))^2 + (u_l + 1 / (2 beta))^2 of the log-ratios u.
 *
 * @see arXiv 2405.00675, equation 4.7 with P = 1 and 0
 */
export const sppoHard: PairLoss = (x, { beta }) => {
  const { chosen, rejected } = logRatios(x);
  return chosen
    .sub(0.5 / beta)
    .square()
    .add(rejected.add(0.5 / beta).square());
};

/**
 * APO zero: sigmoid(-beta u_w) + sigmoid(beta u_l) of the log-ratios u. For answers that are better
 * than what the model writes: it lifts the chosen one and lowers the rejected one.
 *
 * @see arXiv 2408.06266, equation 7
 */
export const apoZero: PairLoss = (x, { beta }) => {
  const { chosen, rejected } = logRatios(x);
  return chosen.mul(-beta).sigmoid().add(rejected.mul(beta).sigmoid());
};

/**
 * APO down: sigmoid(beta u_w) + sigmoid(-beta (u_w - u_l)). For answers that are worse than what
 * the model writes: it lowers both, the rejected one more.
 *
 * @see arXiv 2408.06266, equation 8
 */
export const apoDown: PairLoss = (x, { beta }) => {
  const { chosen, rejected } = logRatios(x);
  return chosen.mul(beta).sigmoid().add(chosen.sub(rejected).mul(-beta).sigmoid());
};
