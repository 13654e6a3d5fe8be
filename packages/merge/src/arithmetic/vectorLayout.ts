import type { Combine, MergeGroup } from '../contract/mergeMethod.js';
import { dot } from './products.js';

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
 */
export function addProducts(
  { run, count }: VectorLayout,
  start: number,
  a: Float32Array,
  b: Float32Array,
  sums: Float64Array,
): void {
  const { length } = a;
  let v = Math.floor(start / run) % count;
  if (run === 1) {
    for (let i = 0; i < length; i++) {
      sums[v] = sums[v]! + a[i]! * b[i]!;
      if (++v === count) v = 0;
    }
    return;
  }
  let from = 0;
  for (let end = run - (start % run); from < length; end += run) {
    const to = Math.min(length, end);
    sums[v] = sums[v]! + dot(a, b, from, to);
    if (++v === count) v = 0;
    from = to;
  }
}

/**
 * out_i = sum_k c_k[v] x_ki, where v is the vector of element i. Up to three at a time, since each
 * store rounds to float32.
 *
 * @param coefficients of each of the `xs`, one for each vector
 */
export function weightedSum(
  { run, count }: VectorLayout,
  start: number,
  xs: readonly Float32Array[],
  coefficients: readonly Float64Array[],
  out: Float32Array,
): void {
  const { length } = out;
  const x = xs[0]!;
  const y = xs[1] ?? x;
  const z = xs[2] ?? x;
  let v = Math.floor(start / run) % count;
  let i = 0;
  for (let end = run - (start % run); i < length; end += run) {
    const to = Math.min(length, end);
    const a = coefficients[0]![v]!;
    const b = xs.length > 1 ? coefficients[1]![v]! : 0;
    const c = xs.length > 2 ? coefficients[2]![v]! : 0;
    if (xs.length === 1) for (; i < to; i++) out[i] = a * x[i]!;
    else if (xs.length === 2) for (; i < to; i++) out[i] = a * x[i]! + b * y[i]!;
    else for (; i < to; i++) out[i] = a * x[i]! + b * y[i]! + c * z[i]!;
    if (++v === count) v = 0;
  }
  for (let k = 3; k < xs.length; k++) addScaled(run, count, start, xs[k]!, coefficients[k]!, out);
}

function addScaled(
  run: number,
  count: number,
  start: number,
  x: Float32Array,
  coefficients: Float64Array,
  out: Float32Array,
): void {
  const { length } = out;
  let v = Math.floor(start / run) % count;
  let i = 0;
  for (let end = run - (start % run); i < length; end += run) {
    const to = Math.min(length, end);
    const a = coefficients[v]!;
    for (; i < to; i++) out[i] = out[i]! + a * x[i]!;
    if (++v === count) v = 0;
  }
}

/** The vector of an element. */
export const vectorOf = ({ run, count }: VectorLayout, element: number): number =>
  Math.floor(element / run) % count;

/** Combines whole tensors: sum_k c_k x_k over the inputs. */
export function combineInputs(group: MergeGroup, coefficients: readonly number[]): Combine {
  const layout = wholeTensor(group);
  const held = coefficients.map((c) => Float64Array.of(c));
  return ({ start, inputs }, out) => weightedSum(layout, start, inputs, held, out);
}

/**
 * Combines the vectors of the models; with a base, of their differences from it:
 *
 *     sum_k c_k (x_k - base) + base = sum_k c_k x_k + (1 - sum_k c_k) base
 */
export function combineModels(
  { baseIndex }: MergeGroup,
  layout: VectorLayout,
  coefficients: readonly Float64Array[],
): Combine {
  if (baseIndex === null)
    return ({ start, models }, out) => weightedSum(layout, start, models, coefficients, out);
  const rest = new Float64Array(layout.count).map((_, v) =>
    coefficients.reduce((left, c) => left - c[v]!, 1),
  );
  const all = [...coefficients, rest];
  return ({ start, models, base }, out) => weightedSum(layout, start, [...models, base!], all, out);
}
