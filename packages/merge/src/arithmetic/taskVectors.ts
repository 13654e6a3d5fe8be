import type { MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import { arrayRoundings } from './rounding.js';

/** The bits of numbers, over the same memory. */
export const bitsOf = (values: Float32Array): Int32Array =>
  new Int32Array(values.buffer, values.byteOffset, values.length);

/** A task vector: into = model - base. */
export function taskVector(
  model: Float32Array,
  base: Float32Array,
  into: Float32Array,
  dtype: MergeArithmetic['dtype'],
): void {
  for (let i = 0; i < into.length; i++) into[i] = model[i]! - base[i]!;
  arrayRoundings[dtype](into);
}

/** Takes a piece of a task vector: the pieces come in order. */
export type Visit = (delta: Float32Array) => void;

/** A pass over the task vectors. A model without a visitor is left out. */
export function passOverTaskVectors(
  group: MergeGroup,
  dtype: MergeArithmetic['dtype'],
  visitors: readonly (Visit | null)[],
): void {
  if (visitors.every((visit) => !visit)) return;
  const memory = group.scratch(1);
  for (const { base, models, length } of group.chunks()) {
    const delta = memory(0, length);
    for (const [k, visit] of visitors.entries())
      if (visit) {
        taskVector(models[k]!, base!, delta, dtype);
        visit(delta);
      }
  }
}
