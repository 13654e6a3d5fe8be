import { IGNORE_INDEX } from '@attune/core';
import { collatePredictions, type HostBatch, type HostTensor } from '@attune/core/training';
import type { PairExample } from './pairRows.js';

/**
 * Pairs as one batch of 2B rows: the chosen ones, then the rejected ones, so that both go through
 * the model in one pass. `batch.inputIds` is [2B, T], padded on the right.
 *
 * Beside what `collatePredictions` makes:
 * - `labelCounts`, float32 [2B]: labels of each row, at least 1, for losses that divide by them;
 * - `margin`, float32 [B], where a pair of the batch has one; 0 for those without.
 *
 * @param maxLength up to which padded lengths are rounded up
 */
export function collatePairs(examples: readonly PairExample[], maxLength: number): HostBatch {
  const batch = collatePredictions(
    [...examples.map(({ chosen }) => chosen), ...examples.map(({ rejected }) => rejected)],
    maxLength,
  );
  const hasMargin = examples.some(({ margin }) => margin !== undefined);
  return {
    ...batch,
    labelCounts: labelCounts(batch.labels),
    ...(hasMargin && { margin: vector(examples.map(({ margin = 0 }) => margin)) }),
  };
}

/** float32 [N] of N numbers. */
export const vector = (values: readonly number[]): HostTensor => ({
  data: Float32Array.from(values),
  shape: [values.length],
  dtype: 'float32',
});

/** Labels of each row of [N, T], at least 1: float32 [N]. */
export function labelCounts({ data, shape }: HostTensor): HostTensor {
  const [rows, width] = shape as readonly [number, number];
  return vector(
    Array.from({ length: rows }, (_, row) => {
      let count = 0;
      for (let t = row * width; t < (row + 1) * width; t++) if (data[t] !== IGNORE_INDEX) count++;
      return Math.max(count, 1);
    }),
  );
}
