import type { MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import type { Thinning } from './sparsifiers.js';
import { passOverTaskVectors } from './taskVectors.js';

/** Share of the elements that a model changes that is kept; 1 where nothing is dropped. */
export function keptShares(
  group: MergeGroup,
  thinnings: readonly (Thinning | null)[],
  dtype: MergeArithmetic['dtype'],
): number[] {
  const changed = thinnings.map(() => 0);
  const kept = thinnings.map(() => 0);
  passOverTaskVectors(
    group,
    dtype,
    thinnings.map((thinning, k) => {
      if (!thinning) return null;
      return (delta) => {
        changed[k] = changed[k]! + countNonZero(delta);
        thinning.apply(delta);
        kept[k] = kept[k]! + countNonZero(delta);
      };
    }),
  );
  return kept.map((count, k) => (changed[k] ? count / changed[k] : 1));
}

function countNonZero(values: Float32Array): number {
  let count = 0;
  for (let i = 0; i < values.length; i++) if (values[i] !== 0) count++;
  return count;
}
