import type { MergeArithmetic, MergeChunk, MergeGroup } from '../contract/mergeMethod.js';

/** sum_i a_i b_i in float64. Four sums side by side: one alone waits for each addition. */
export function dot(a: Float32Array, b: Float32Array): number {
  const { length } = a;
  const whole = length - (length % 4);
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let i = 0; i < whole; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (let i = whole; i < length; i++) s0 += a[i]! * b[i]!;
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

/** out = sum_k c_k x_k, rounded to float32. Two at a time: each store rounds. */
export function weightedSum(
  vectors: readonly Float32Array[],
  coefficients: readonly number[],
  out: Float32Array,
): void {
  const { length } = out;
  const first = vectors[0]!;
  const c0 = coefficients[0]!;
  if (vectors.length === 1) {
    for (let i = 0; i < length; i++) out[i] = c0 * first[i]!;
    return;
  }
  const second = vectors[1]!;
  const c1 = coefficients[1]!;
  for (let i = 0; i < length; i++) out[i] = c0 * first[i]! + c1 * second[i]!;
  for (let k = 2; k < vectors.length; k++) {
    const x = vectors[k]!;
    const c = coefficients[k]!;
    for (let i = 0; i < length; i++) out[i] = out[i]! + c * x[i]!;
  }
}

/** out += x */
export function addTo(out: Float32Array, x: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = out[i]! + x[i]!;
}

/** Rounds every element to what the arithmetic holds; nothing to do in float32. */
export function roundAll(values: Float32Array, { dtype, round }: MergeArithmetic): void {
  if (dtype === 'float32') return;
  for (let i = 0; i < values.length; i++) values[i] = round(values[i]!);
}
