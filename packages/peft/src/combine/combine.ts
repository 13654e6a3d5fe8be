import { algebra } from '@attune/core/tensor';
import type { Rng } from '@attune/core/util';

/** Ways to combine what training added to a tensor, by PEFT's names (`utils/merge_utils.py`). */
export const COMBINATIONS = [
  'linear',
  'ties',
  'dare_linear',
  'dare_ties',
  'magnitude_prune',
] as const;
export type Combination = (typeof COMBINATIONS)[number];

export interface CombineOptions {
  /** Share of values that are kept of each tensor. */
  readonly densities: readonly number[];
  readonly majoritySignMethod: algebra.MajoritySignMethod;
  readonly rng: Rng;
}

/** As PEFT combines. @param tensors all of one length */
export function combine(
  type: Combination,
  tensors: readonly Float64Array[],
  weights: readonly number[],
  { densities, majoritySignMethod, rng }: CombineOptions,
): Float64Array {
  const trimmed = () => tensors.map((tensor, i) => algebra.pruneByMagnitude(tensor, densities[i]!));
  const dropped = () =>
    tensors.map((tensor, i) => algebra.dropAndRescale(tensor, densities[i]!, rng));
  // As PEFT: signs are elected before the weights apply, and the mean counts who agrees.
  const elect = (kept: readonly Float64Array[]) =>
    algebra.mergeAgreeing(kept, algebra.electSigns(kept, majoritySignMethod), {
      weights,
      divisors: kept.map(() => 1),
    });
  switch (type) {
    case 'linear':
      return algebra.weightedSum(tensors, weights);
    case 'magnitude_prune':
      return algebra.weightedSum(trimmed(), weights);
    case 'ties':
      return elect(trimmed());
    case 'dare_linear':
      return algebra.weightedSum(dropped(), weights);
    case 'dare_ties':
      return elect(dropped());
  }
}
