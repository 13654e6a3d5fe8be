import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { Rng } from '../../util/rng.js';
import { type Dense, fromMatrix, toMatrix } from './dense.js';
import { isSmall, type LowRank, wholeSvd } from './svd.js';

/** A pair (u, v) is found when |M v - s u| is at most this share of the largest singular value. */
const FOUND = 1e-8;

/**
 * The nearest matrix of rank r as `truncatedSvd` gives it, but to rounding, by Lanczos: an
 * orthonormal basis Q of q, (M M^T) q, (M M^T)^2 q, ... grows until the r largest singular pairs of
 * Q^T M are pairs of M. Where singular values lie close together, as in the weights of a model,
 * passes of subspace iteration would be hundreds.
 *
 * A basis from one start holds one direction of each singular value; so what is found counts once a
 * second start, apart from all before, has added nothing.
 *
 * @param matrix [m, n]
 * @see Golub, Van Loan, Matrix Computations, 10.1 and 10.4
 */
export function exactTruncatedSvd(matrix: Dense, rank: number): LowRank {
  const { rows, columns } = matrix;
  const most = Math.min(rows, columns);
  let look = 4 * rank + 32;
  if (isSmall(matrix, rank) || look >= most) return wholeSvd(toMatrix(matrix), rank);
  const values = Float64Array.from(matrix.data);
  const rng = new Rng(0, 0x737664); // 'svd'
  const basis: Float64Array[] = [];
  const images: Float64Array[] = []; // M^T q of each
  let next = unit(normals(rng, rows));
  let before: readonly number[] | null = null;
  while (basis.length < most) {
    basis.push(next);
    images.push(timesTransposed(values, next, columns));
    let restart = false;
    if (basis.length >= look) {
      const found = pairs(values, columns, rank, basis, images);
      restart = found.error <= FOUND * found.singular[0]!;
      if (restart && before?.every((s, i) => same(s, found.singular[i]!, found.singular[0]!)))
        return found.low;
      before = restart ? found.singular : null;
      look = Math.ceil(basis.length * 1.25);
    }
    const further = restart ? null : apart(times(values, images.at(-1)!, rows), basis);
    next = further ?? apart(normals(rng, rows), basis) ?? next;
  }
  return wholeSvd(toMatrix(matrix), rank);
}

const same = (a: number, b: number, largest: number): boolean => Math.abs(a - b) <= FOUND * largest;

/**
 * The largest singular pairs within the basis, and how far they are from being pairs of the matrix.
 */
function pairs(
  values: Float64Array,
  columns: number,
  rank: number,
  basis: readonly Float64Array[],
  images: readonly Float64Array[],
): { readonly low: LowRank; readonly error: number; readonly singular: readonly number[] } {
  // Singular values of Q^T M are the roots of the eigenvalues of (Q^T M)(Q^T M)^T.
  const gram = new Matrix(basis.length, basis.length);
  images.forEach((a, i) => {
    for (let j = 0; j <= i; j++) {
      const product = dot(a, images[j]!);
      gram.set(i, j, product);
      gram.set(j, i, product);
    }
  });
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(gram, {
    assumeSymmetric: true,
  });
  const kept = realEigenvalues
    .map((value, i) => ({ singular: Math.sqrt(Math.max(value, 0)), i }))
    .sort((a, b) => b.singular - a.singular)
    .slice(0, rank);
  const rows = basis[0]!.length;
  const a = new Matrix(rank, columns);
  const b = new Matrix(rows, rank);
  let error = 0;
  kept.forEach(({ singular, i }, k) => {
    const y = eigenvectorMatrix.getColumn(i);
    const u = combined(basis, y);
    const v = combined(images, y).map((value) => (singular > 0 ? value / singular : 0));
    const us = u.map((value) => value * singular);
    const rest = times(values, v, rows).map((value, row) => value - us[row]!);
    error = Math.max(error, Math.sqrt(dot(rest, rest)));
    a.setRow(k, v);
    b.setColumn(k, us);
  });
  return {
    low: { a: fromMatrix(a), b: fromMatrix(b) },
    error,
    singular: kept.map(({ singular }) => singular),
  };
}

/**
 * What of a vector the basis does not span, of length 1; null when that is nothing but rounding.
 */
function apart(vector: Float64Array, basis: readonly Float64Array[]): Float64Array | null {
  const length = Math.sqrt(dot(vector, vector));
  // Twice: the first time leaves rounding errors as large as what was taken out.
  for (let pass = 0; pass < 2; pass++)
    for (const q of basis) {
      const share = dot(vector, q);
      for (let i = 0; i < vector.length; i++) vector[i]! -= share * q[i]!;
    }
  return dot(vector, vector) > (1e-12 * length) ** 2 ? unit(vector) : null;
}

/** M^T q [n], of M [m, n] row by row. */
function timesTransposed(
  values: Float64Array,
  vector: Float64Array,
  columns: number,
): Float64Array {
  const out = new Float64Array(columns);
  for (let row = 0; row < vector.length; row++) {
    const factor = vector[row]!;
    const at = row * columns;
    for (let i = 0; i < columns; i++) out[i]! += factor * values[at + i]!;
  }
  return out;
}

/** M v [m] */
function times(values: Float64Array, vector: Float64Array, rows: number): Float64Array {
  const columns = vector.length;
  const row = (r: number) => values.subarray(r * columns, (r + 1) * columns);
  return Float64Array.from({ length: rows }, (_, r) => dot(row(r), vector));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

const unit = (vector: Float64Array): Float64Array => {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map((value) => value / length);
};

const normals = (rng: Rng, count: number): Float64Array =>
  Float64Array.from({ length: count }, () => rng.normal());

function combined(vectors: readonly Float64Array[], weights: readonly number[]): Float64Array {
  const out = new Float64Array(vectors[0]!.length);
  vectors.forEach((vector, k) => {
    const weight = weights[k]!;
    for (let i = 0; i < out.length; i++) out[i]! += weight * vector[i]!;
  });
  return out;
}
