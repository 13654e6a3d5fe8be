import type { MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import { passOverTaskVectors, type Visit } from './taskVectors.js';

/** Below this a norm is taken for 0, and nothing is scaled. */
const TINY = 1e-7;

/** Sum of |x|, to the same bits however the values are cut. */
export interface L1Norm {
  add(values: Float32Array): void;
  total(): number;
}

/** Four sums by position: an addition needn't wait for the one before. */
export function l1Norm(): L1Norm {
  const sums = new Float64Array(4);
  let position = 0;
  return {
    add: (values) => {
      let i = 0;
      const one = () => {
        sums[position] = sums[position]! + Math.abs(values[i++]!);
        position = (position + 1) & 3;
      };
      while (position !== 0 && i < values.length) one();
      let [a, b, c, d] = [sums[0]!, sums[1]!, sums[2]!, sums[3]!];
      for (; i + 4 <= values.length; i += 4) {
        a += Math.abs(values[i]!);
        b += Math.abs(values[i + 1]!);
        c += Math.abs(values[i + 2]!);
        d += Math.abs(values[i + 3]!);
      }
      sums.set([a, b, c, d]);
      while (i < values.length) one();
    },
    total: () => sums[0]! + sums[1]! + (sums[2]! + sums[3]!),
  };
}

/**
 * What each sparsified task vector must be multiplied by to have the L1 norm that it had before:
 * sum |delta| / sum |sparsified|; 1 where one of the two is below 1e-7.
 *
 * @param round what the sums and their ratio are rounded to; a sum that it makes infinite (float16
 *   ends at 65504) stays as it is
 */
export function l1Scales(
  group: MergeGroup,
  sparsify: readonly (Visit | null)[],
  dtype: MergeArithmetic['dtype'],
  round: (value: number) => number,
): number[] {
  const norms = sparsify.map(() => [l1Norm(), l1Norm()] as const);
  passOverTaskVectors(
    group,
    dtype,
    sparsify.map((apply, k) => {
      if (!apply) return null;
      const [before, after] = norms[k]!;
      return (delta) => {
        before.add(delta);
        apply(delta);
        after.add(delta);
      };
    }),
  );
  const held = (sum: number) => (Number.isFinite(round(sum)) ? round(sum) : sum);
  return norms.map(([before, after]) => {
    const [whole, kept] = [held(before.total()), held(after.total())];
    return whole < TINY || kept < TINY ? 1 : round(whole / kept);
  });
}
