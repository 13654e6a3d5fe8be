import type { MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import { measureKept } from './randomThinning.js';
import type { Thinning } from './sparsifiers.js';
import { passOverTaskVectors } from './taskVectors.js';

/** Below this a norm is taken for 0, and nothing is scaled. */
const TINY = 1e-7;

/**
 * sum + sum_i |x_i|, one after the other: the same bits however the values are cut.
 */
export function addMagnitudes(sum: number, values: Float32Array): number {
  let total = sum;
  for (let i = 0; i < values.length; i++) total += Math.abs(values[i]!);
  return total;
}

/** Sums of magnitudes before and after elements are dropped. */
export interface L1Norms {
  whole: number;
  kept: number;
}

/**
 * What each task vector that is thinned out must be multiplied by to have the L1 norm that it had
 * before: sum |delta| / sum |kept|; 1 where one of the two is below 1e-7.
 *
 * @param round what the sums and their ratio are rounded to; a sum that it makes infinite (float16
 *   ends at 65504) stays as it is
 */
export function l1Scales(
  group: MergeGroup,
  thinnings: readonly (Thinning | null)[],
  dtype: MergeArithmetic['dtype'],
  round: (value: number) => number,
): number[] {
  const norms: L1Norms[] = thinnings.map(() => ({ whole: 0, kept: 0 }));
  const isMeasured = dtype === 'float32' && thinnings.some((thinning) => thinning?.random);
  if (isMeasured) {
    for (const { base, models } of group.chunks())
      for (const [k, thinning] of thinnings.entries())
        if (thinning?.random) measureKept(models[k]!, base!, thinning.random, norms[k]!);
  } else
    passOverTaskVectors(
      group,
      dtype,
      thinnings.map((thinning, k) => {
        if (!thinning) return null;
        const norm = norms[k]!;
        return (delta) => {
          norm.whole = addMagnitudes(norm.whole, delta);
          thinning.apply(delta);
          norm.kept = addMagnitudes(norm.kept, delta);
        };
      }),
    );
  const held = (sum: number) => (Number.isFinite(round(sum)) ? round(sum) : sum);
  return norms.map(({ whole, kept }) =>
    held(whole) < TINY || held(kept) < TINY ? 1 : round(held(whole) / held(kept)),
  );
}
