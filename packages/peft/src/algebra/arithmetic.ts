import type { Rng } from '@attune/core';

/**
 * Combining task vectors (what training added to a tensor), in float64 on the host. Rules are PEFT's
 * (`utils/merge_utils.py`); all arrays of one call have the same length.
 */

/** How signs are elected in TIES: by the sum of the values, or by counting them. */
export type MajoritySignMethod = 'total' | 'frequency';

/** sum_i w_i t_i. Ilharco et al., arXiv:2212.04089 */
export function taskArithmetic(
  tensors: readonly Float64Array[],
  weights: readonly number[],
): Float64Array {
  const out = new Float64Array(tensors[0]!.length);
  tensors.forEach((tensor, t) => {
    for (let i = 0; i < out.length; i++) out[i]! += weights[t]! * tensor[i]!;
  });
  return out;
}

/** Keeps the floor(density n) values of largest magnitude; of equal ones the first. */
export function pruneByMagnitude(tensor: Float64Array, density: number): Float64Array {
  if (density >= 1) return tensor;
  const count = Math.floor(density * tensor.length);
  const order = Uint32Array.from(tensor, (_, i) => i).sort(
    (a, b) => Math.abs(tensor[b]!) - Math.abs(tensor[a]!) || a - b,
  );
  const out = new Float64Array(tensor.length);
  for (const i of order.subarray(0, count)) out[i] = tensor[i]!;
  return out;
}

/** Keeps each value with probability `density` and divides it by that. DARE: Yu et al., arXiv:2311.03099 */
export function pruneAtRandom(tensor: Float64Array, density: number, rng: Rng): Float64Array {
  if (density >= 1) return tensor;
  return tensor.map((value) => (rng.uniform() < density ? value / density : 0));
}

/**
 * The mean of those values, in each place, whose sign won the election. Signs are elected before the
 * weights apply. TIES: Yadav et al., arXiv:2306.01708
 */
export function electAndMerge(
  tensors: readonly Float64Array[],
  weights: readonly number[],
  method: MajoritySignMethod,
): Float64Array {
  const out = new Float64Array(tensors[0]!.length);
  for (let i = 0; i < out.length; i++) {
    let votes = 0;
    for (const tensor of tensors) votes += method === 'total' ? tensor[i]! : Math.sign(tensor[i]!);
    const sign = votes >= 0 ? 1 : -1;
    let sum = 0;
    let count = 0;
    tensors.forEach((tensor, t) => {
      if (Math.sign(tensor[i]!) !== sign) return;
      sum += weights[t]! * tensor[i]!;
      count++;
    });
    out[i] = sum / Math.max(count, 1);
  }
  return out;
}

/** Ways to combine, by PEFT's names. */
export const COMBINATIONS = [
  'linear',
  'ties',
  'dare_linear',
  'dare_ties',
  'magnitude_prune',
] as const;
export type Combination = (typeof COMBINATIONS)[number];

export interface CombineOptions {
  /** Share of values that are kept. */
  readonly density: number;
  readonly majoritySignMethod: MajoritySignMethod;
  readonly rng: Rng;
}

export function combine(
  type: Combination,
  tensors: readonly Float64Array[],
  weights: readonly number[],
  { density, majoritySignMethod, rng }: CombineOptions,
): Float64Array {
  const byMagnitude = () => tensors.map((tensor) => pruneByMagnitude(tensor, density));
  const atRandom = () => tensors.map((tensor) => pruneAtRandom(tensor, density, rng));
  switch (type) {
    case 'linear':
      return taskArithmetic(tensors, weights);
    case 'magnitude_prune':
      return taskArithmetic(byMagnitude(), weights);
    case 'ties':
      return electAndMerge(byMagnitude(), weights, majoritySignMethod);
    case 'dare_linear':
      return taskArithmetic(atRandom(), weights);
    case 'dare_ties':
      return electAndMerge(atRandom(), weights, majoritySignMethod);
  }
}
