import type { MergeArithmetic, MergeChunk, MergeGroup } from '../contract/mergeMethod.js';
import { roundAll } from './products.js';

/**
 * The vectors that a method of directions works with: the models minus the base; without a base the
 * models themselves. The arrays are used again for the next chunk.
 */
export function offsetsOf(
  group: MergeGroup,
  arithmetic: MergeArithmetic,
): (chunk: MergeChunk) => readonly Float32Array[] {
  if (group.baseIndex === null) return ({ models }) => models;
  let memory: readonly Float32Array[] = [];
  return ({ models, base, length }) => {
    if ((memory[0]?.length ?? 0) < length) memory = models.map(() => new Float32Array(length));
    return models.map((model, k) => {
      const offset = memory[k]!.subarray(0, length);
      for (let i = 0; i < length; i++) offset[i] = model[i]! - base![i]!;
      roundAll(offset, arithmetic);
      return offset;
    });
  };
}
