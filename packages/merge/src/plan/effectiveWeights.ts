import type { MergeMethod } from '../contract/mergeMethod.js';
import type { TensorTask } from '../contract/tensorTask.js';

/**
 * With which weight each input of a tensor counts, as its parameters say: `weight`, times `lambda`,
 * divided by the sum where weights are normalised; of two inputs 1 - t and t; `scale`. What a
 * method then does element by element (signs, trimming) is not in it.
 *
 * @returns one for each input: null for a base from which differences are taken; null altogether
 *   where the method has no such parameters
 */
export function effectiveWeights(
  { parameters: kinds }: Pick<MergeMethod, 'parameters'>,
  { parameters, inputs, baseIndex }: TensorTask,
): readonly (number | null)[] | null {
  const { weight, t, scale, lambda } = parameters;
  if (Array.isArray(weight)) {
    const isNormalized = (parameters.normalize ?? parameters.normalizeWeights) === true;
    const sum = isNormalized ? weight.reduce((a: number, b: number) => a + b, 0) : 1;
    const factor = (typeof lambda === 'number' ? lambda : 1) / (sum || 1);
    const values = weight.map((value: number) => value * factor);
    if (kinds.weight?.scope !== 'perModel' || baseIndex === null) return values;
    return [...values.slice(0, baseIndex), null, ...values.slice(baseIndex)];
  }
  if (typeof t === 'number' && inputs.length === 2 && baseIndex !== null)
    return inputs.map((_, k) => (k === baseIndex ? 1 - t : t));
  if (Array.isArray(scale)) return scale.map((value) => value ?? 1);
  return inputs.length === 1 ? [1] : null;
}
