import type { Combine, MergeArithmetic, MergeChunk, MergeGroup } from '../contract/mergeMethod.js';
import { arrayRoundings, roundings } from './rounding.js';
import { taskVector } from './taskVectors.js';

/** Task vectors of a piece, and how many models change each element. */
export interface SharedDeltas {
  /** 0 where the model's change is not above epsilon. */
  readonly deltas: readonly Float32Array[];
  readonly counts: Float32Array;
}

/** Reads pieces into memory that is used again. A change counts where |x - base| > epsilon. */
export function readSharedDeltas(
  group: MergeGroup,
  epsilon: number,
  dtype: MergeArithmetic['dtype'],
): (chunk: MergeChunk) => SharedDeltas {
  const { numModels } = group;
  const memory = group.scratch(numModels + 1);
  const least = roundings[dtype](epsilon);
  return ({ models, base, length }) => {
    const counts = memory(numModels, length).fill(0);
    const deltas = models.map((model, k) => {
      const delta = memory(k, length);
      taskVector(model, base!, delta, dtype);
      for (let i = 0; i < length; i++)
        if (Math.abs(delta[i]!) > least) counts[i] = counts[i]! + 1;
        else delta[i] = 0;
      return delta;
    });
    return { deltas, counts };
  };
}

/**
 * base + sum_k (delta_k / count where several models change an element, scale_k delta_k where one
 * does).
 *
 * @param round whether the sums are rounded to `dtype`; scales are float32 numbers
 */
export function addShared(
  group: MergeGroup,
  scales: readonly number[],
  epsilon: number,
  dtype: MergeArithmetic['dtype'],
  round: boolean,
): Combine {
  const read = readSharedDeltas(group, epsilon, dtype);
  const roundAll = arrayRoundings[dtype];
  const roundSum = arrayRoundings[round ? dtype : 'float32'];
  return (chunk, out) => {
    const { deltas, counts } = read(chunk);
    out.fill(0);
    for (const [k, delta] of deltas.entries()) {
      const scale = scales[k]!;
      for (let i = 0; i < out.length; i++) delta[i] = delta[i]! / Math.max(1, counts[i]!);
      roundAll(delta);
      if (scale !== 1)
        for (let i = 0; i < out.length; i++) if (counts[i] === 1) delta[i] = delta[i]! * scale;
      for (let i = 0; i < out.length; i++) out[i] = out[i]! + delta[i]!;
    }
    roundSum(out);
    const base = chunk.base!;
    for (let i = 0; i < out.length; i++) out[i] = base[i]! + out[i]!;
    roundSum(out);
  };
}
