import { z } from 'zod';
import { perModel, shared } from '../contract/mergeMethod.js';

/** A share of elements. */
export const share = () => z.number().min(0).max(1);

/** Parameters of every method on task vectors; two defaults differ. */
export const taskVectorParameters = (defaults: { normalize: boolean; rescale: boolean }) => ({
  /** w_k, one for each model but the base. Any sign. */
  weight: perModel(z.number()),
  /** Share of each task vector that is kept. Default 1: all. */
  density: perModel(share().default(1)),
  /** Factor of the merged task vector. Default 1. */
  lambda: shared(z.number().default(1)),
  /** Whether the sum is divided by the sum of the weights. */
  normalize: shared(z.boolean().default(defaults.normalize)),
  /** Whether a task vector that was thinned out gets the L1 norm that it had. */
  rescale: shared(z.boolean().default(defaults.rescale)),
  /** Read, and without effect: mergekit's way to save memory. */
  int8Mask: shared(z.boolean().default(false)),
});

/** What {@link taskVectorParameters} and a sparsifier's own need of each other; null: all well. */
export interface TaskVectorValues {
  readonly weight: readonly number[];
  readonly density: readonly number[];
  readonly lambda: number;
  readonly normalize: boolean;
  readonly rescale: boolean;
}

/** Weights that a method without election would divide by. */
export function checkWeightSum({ weight, normalize }: TaskVectorValues): string | null {
  const sum = weight.reduce((a, b) => Math.fround(a + Math.fround(b)), 0);
  return normalize && weight.length > 0 && Math.abs(sum) < 1e-8
    ? `the weights ${weight.join(', ')} add up to ${sum}, by which the result would be divided`
    : null;
}

/** Probabilities of DELLA that are none. */
export function checkEpsilon(
  density: readonly number[],
  epsilon: readonly number[],
): string | null {
  const k = density.findIndex(
    (d, i) => d > 0 && d < 1 && (d - epsilon[i]! <= 0 || d + epsilon[i]! >= 1),
  );
  return k < 0
    ? null
    : `density ${density[k]} with epsilon ${epsilon[k]} gives probabilities from ${density[k]! - epsilon[k]!} to ${density[k]! + epsilon[k]!}, which must lie between 0 and 1`;
}
