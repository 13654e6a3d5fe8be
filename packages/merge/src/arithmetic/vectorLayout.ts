import type { MergeGroup } from '../contract/mergeMethod.js';

/**
 * How a tensor is taken as vectors: element e belongs to vector floor(e / run) mod count.
 *
 *     whole tensor  run = length, count = 1
 *     rows          run = columns, count = length / columns
 *     columns       run = 1, count = length / shape[0]   (along the first axis)
 */
export interface VectorLayout {
  /** Neighbouring elements of one vector. */
  readonly run: number;
  /** Number of vectors. */
  readonly count: number;
}

export const wholeTensor = ({ length }: MergeGroup): VectorLayout => ({ run: length, count: 1 });

/** Vectors along the last axis: the rows of a matrix, a one-dimensional tensor as a whole. */
export const alongLast = ({ length, columns }: MergeGroup): VectorLayout => ({
  run: columns,
  count: length / columns,
});

/** Vectors along the first axis: the columns of a matrix, a one-dimensional tensor as a whole. */
export const alongFirst = ({ shape, length }: MergeGroup): VectorLayout => ({
  run: 1,
  count: length / (shape[0] ?? 1),
});

/**
 * Adds the products of a chunk to the sums of the vectors: sums[v] += sum_i a_i b_i, in float64.
 *
 * @param start index of the first element in the tensor
 * @param product what is added for a pair; null: a_i b_i as it is
 */
export function addProducts(
  { run, count }: VectorLayout,
  start: number,
  a: Float32Array,
  b: Float32Array,
  sums: Float64Array,
  product: ((a: number, b: number, vector: number) => number) | null = null,
): void {
  const { length } = a;
  let v = Math.floor(start / run) % count;
  let end = Math.min(length, run - (start % run));
  for (let i = 0; i < length; end = Math.min(length, end + run)) {
    let sum = 0;
    if (product) for (; i < end; i++) sum += product(a[i]!, b[i]!, v);
    else for (; i < end; i++) sum += a[i]! * b[i]!;
    sums[v]! += sum;
    if (++v === count) v = 0;
  }
}

/** out_i += c[v] x_i, where v is the vector of element i. */
export function addScaled(
  { run, count }: VectorLayout,
  start: number,
  coefficients: Float64Array,
  x: Float32Array,
  out: Float32Array,
): void {
  const { length } = out;
  let v = Math.floor(start / run) % count;
  let end = Math.min(length, run - (start % run));
  for (let i = 0; i < length; end = Math.min(length, end + run)) {
    const c = coefficients[v]!;
    for (; i < end; i++) out[i] = out[i]! + c * x[i]!;
    if (++v === count) v = 0;
  }
}

/** The vector of an element. */
export const vectorOf = ({ run, count }: VectorLayout, element: number): number =>
  Math.floor(element / run) % count;
