import type { Rng } from '../../util/rng.js';

/**
 * DARE: keeps each value with probability `density` and divides it by that, so that the mean stays.
 *
 * @param density 0 to 1; from 1 on the tensor itself is given back
 * @param rng one uniform number is drawn for each value, in order: a seed gives a mask again
 * @see arXiv:2311.03099 (Yu et al.), equation 2
 */
export function dropAndRescale(tensor: Float64Array, density: number, rng: Rng): Float64Array {
  if (density >= 1) return tensor;
  return tensor.map((value) => (rng.uniform() < density ? value / density : 0));
}

/**
 * Keeps each value with a probability of its own, unscaled: DARE and DELLA before they rescale.
 *
 * @param probabilities one for each value
 * @param rng one uniform number is drawn for each value, in order
 */
export const dropAtRandom = (
  tensor: Float64Array,
  probabilities: ArrayLike<number>,
  rng: Rng,
): Float64Array => tensor.map((value, i) => (rng.uniform() < probabilities[i]! ? value : 0));
