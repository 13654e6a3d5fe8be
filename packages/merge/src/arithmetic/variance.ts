import type { MergeArithmetic } from '../contract/mergeMethod.js';
import { arrayRoundings } from './rounding.js';

/**
 * Variance over the models of each element, divided by their number: Welford's running mean as
 * torch.var has it, in float64; in 16 bits it runs in float32.
 */
export function variance(
  rows: readonly Float32Array[],
  into: Float32Array,
  dtype: MergeArithmetic['dtype'],
): void {
  const means = dtype === 'float32' ? new Float64Array(into.length) : new Float32Array(into.length);
  const squares =
    dtype === 'float32' ? new Float64Array(into.length) : new Float32Array(into.length);
  for (const [k, row] of rows.entries())
    for (let i = 0; i < into.length; i++) {
      const mean = means[i]!;
      const distance = row[i]! - mean;
      means[i] = mean + distance / (k + 1);
      squares[i] = squares[i]! + distance * (row[i]! - means[i]!);
    }
  for (let i = 0; i < into.length; i++) into[i] = squares[i]! / rows.length;
  arrayRoundings[dtype](into);
}
