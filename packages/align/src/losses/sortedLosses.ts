import { ops, type Tensor } from '@attune/core';
import { logRatios, type PairLoss, smoothedLogistic } from './pairLogProbs.js';

/**
 * AOT on pairs: differences chosen - rejected of the policy and of the reference are sorted apart
 * over the batch, and d is their difference at each rank. Loss -(1 - e) ls(beta d) - e ls(-beta d):
 * the distribution of margins must lie above that of the reference. [B] by rank, not by pair.
 *
 * @see arXiv 2406.05882
 */
export const aot: PairLoss = (x, { beta, labelSmoothing }) => {
  const own = ascending(x.chosen.sub(x.rejected));
  const reference = ascending(x.refChosen.sub(x.refRejected));
  return smoothedLogistic(own.sub(reference).mul(beta), labelSmoothing);
};

/**
 * AOT without pairs: the log-ratios of all chosen answers and of all rejected ones are sorted
 * apart, and d is their difference at each rank. The loss is that of `aot`. [B] by rank.
 *
 * @see arXiv 2406.05882
 */
export const aotUnpaired: PairLoss = (x, { beta, labelSmoothing }) => {
  const { chosen, rejected } = logRatios(x);
  return smoothedLogistic(ascending(chosen).sub(ascending(rejected)).mul(beta), labelSmoothing);
};

/**
 * Sorts [B], differentiable in the values: the rank of a value is how many are smaller, or equal
 * and before it, and a matrix of ranks moves each value to its place.
 */
function ascending(x: Tensor): Tensor {
  const { engine, size } = x;
  const earlier = Float32Array.from({ length: size * size }, (_, at) =>
    Number(at % size < Math.floor(at / size)),
  );
  const permutation = engine.noGrad(() => {
    const [of, against] = [x.unsqueeze(1), x.unsqueeze(0)];
    const ties = ops.equal(against, of).mul(engine.tensor(earlier, [size, size]));
    const ranks = ops.less(against, of).add(ties).sum(1); // [B]
    const places = engine.tensor(
      Float32Array.from({ length: size }, (_, i) => i),
      [size, 1],
    );
    return ops.equal(places, ranks.unsqueeze(0)); // [rank, B]
  });
  return permutation.mul(x.unsqueeze(0)).sum(1);
}
