import type { OwnDense } from './dense.js';
import { byMagnitude } from './prune.js';

/**
 * How probable DELLA keeps each value: the larger in its row, the more.
 *
 *     p = (density - epsilon) + 2 epsilon rank / (n - 1)
 *
 * The rank counts up from 0, the smallest magnitude of the row's n values; equal ones rank by their
 * order, the first highest. A row of one value has p = density.
 *
 * @param matrix [rows, n]; a vector is one row
 * @param density the mean of p, with density - epsilon > 0 and density + epsilon < 1
 * @param epsilon half of the range. mergekit's default 0.15
 * @returns p of each value, row by row
 * @see arXiv:2406.11617 (Deep et al.), section 3.1
 */
export function keepProbabilities(
  { rows, columns, data }: OwnDense,
  density: number,
  epsilon: number,
): Float64Array {
  const out = new Float64Array(data.length).fill(density);
  if (columns === 1) return out;
  for (let row = 0; row < rows; row++) {
    const from = row * columns;
    byMagnitude(data.subarray(from, from + columns)).forEach((i, place) => {
      out[from + i] = density - epsilon + (2 * epsilon * (columns - 1 - place)) / (columns - 1);
    });
  }
  return out;
}
