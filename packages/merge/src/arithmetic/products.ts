import type { MergeArithmetic, MergeChunk, MergeGroup } from '../contract/mergeMethod.js';

/**
 * sum_i a_i b_i of the elements from `from` to before `to`, in float64. Four sums side by side: one
 * alone waits for each addition.
 */
export function dot(a: Float32Array, b: Float32Array, from = 0, to = a.length): number {
  const whole = to - ((to - from) % 4);
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let i = from; i < whole; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (let i = whole; i < to; i++) s0 += a[i]! * b[i]!;
  return s0 + s1 + (s2 + s3);
}

/**
 * Products of whole tensors with each other, x_j . x_k, in one pass.
 *
 * @param vectorsOf the vectors of a chunk, always as many
 * @returns `[count, count]`, symmetric
 */
export function gramMatrix(
  group: MergeGroup,
  count: number,
  vectorsOf: (chunk: MergeChunk) => readonly Float32Array[],
): Float64Array[] {
  const gram = Array.from({ length: count }, () => new Float64Array(count));
  for (const chunk of group.chunks()) {
    const vectors = vectorsOf(chunk);
    for (let j = 0; j < count; j++)
      for (let k = 0; k <= j; k++) gram[j]![k]! += dot(vectors[j]!, vectors[k]!);
  }
  for (let j = 0; j < count; j++) for (let k = j + 1; k < count; k++) gram[j]![k] = gram[k]![j]!;
  return gram;
}

/** a^T M b for a symmetric M. */
export function quadratic(a: readonly number[], m: readonly Float64Array[], b: readonly number[]) {
  let sum = 0;
  for (let j = 0; j < a.length; j++)
    for (let k = 0; k < b.length; k++) sum += a[j]! * m[j]![k]! * b[k]!;
  return sum;
}

/** Rounds every element to what the arithmetic holds; nothing to do in float32. */
export function roundAll(values: Float32Array, { dtype, round }: MergeArithmetic): void {
  if (dtype === 'float32') return;
  for (let i = 0; i < values.length; i++) values[i] = round(values[i]!);
}
