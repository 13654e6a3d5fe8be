import { Rng } from '@attune/core';
import { Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';

/** Row-major float64 [rows, columns] on the host. */
export interface Dense {
  readonly rows: number;
  readonly columns: number;
  readonly data: ArrayLike<number>;
}

/** B [m, r] and A [r, n], whose product is what was decomposed, or the nearest of rank r. */
export interface LowRank {
  readonly a: Dense;
  readonly b: Dense;
}

export const toMatrix = ({ rows, columns, data }: Dense): Matrix =>
  Matrix.from1DArray(rows, columns, Array.from(data));

export const fromMatrix = (matrix: Matrix): Dense => ({
  rows: matrix.rows,
  columns: matrix.columns,
  data: Float64Array.from(matrix.to1DArray()),
});

/** Singular values above this share of the largest are exact for a matrix so small; larger ones are projected first. */
const EXACT_SIZE = 256;

/**
 * The nearest matrix of rank r: M ~ U_r S_r V_r^T, as B = U_r S_r and A = V_r^T.
 *
 * Up to 256 rows or columns by a whole singular value decomposition; beyond, by subspace iteration with
 * 10 more directions and twice `passes` passes (Halko et al., arXiv:0909.4061, algorithm 4.4), with a seed of its own:
 * exact for matrices of rank r; for others it holds nearly as much, in directions that may be others (`nearestExactly`
 * finds the directions themselves).
 */
export function truncate(matrix: Matrix, rank: number, passes = 3): LowRank {
  if (isSmall(matrix, rank)) return decompose(matrix, rank);
  const rng = new Rng(0, 0x737664); // 'svd'
  const probe = new Matrix(matrix.columns, rank + 10);
  for (let i = 0; i < probe.rows; i++)
    for (let j = 0; j < probe.columns; j++) probe.set(i, j, rng.normal());
  const transposed = matrix.transpose();
  let basis = orthonormal(matrix.mmul(probe));
  for (let pass = 0; pass < passes; pass++)
    basis = orthonormal(matrix.mmul(orthonormal(transposed.mmul(basis))));
  const { a, b } = decompose(basis.transpose().mmul(matrix), rank);
  return { a, b: fromMatrix(basis.mmul(toMatrix(b))) };
}

/**
 * The nearest matrix of rank r to left [m, R] x right [R, n], without the [m, n] product: two QR
 * decompositions and the singular values of an [R, R] core.
 */
export function truncateProduct(left: Matrix, right: Matrix, rank: number): LowRank {
  if (left.columns >= Math.min(left.rows, right.columns)) return decompose(left.mmul(right), rank);
  const outer = new QrDecomposition(left);
  const inner = new QrDecomposition(right.transpose());
  const core = outer.upperTriangularMatrix.mmul(inner.upperTriangularMatrix.transpose());
  const { a, b } = decompose(core, rank);
  return {
    b: fromMatrix(outer.orthogonalMatrix.mmul(toMatrix(b))),
    a: fromMatrix(toMatrix(a).mmul(inner.orthogonalMatrix.transpose())),
  };
}

/** Whether a whole decomposition is the quickest. */
export const isSmall = ({ rows, columns }: Matrix, rank: number): boolean =>
  Math.min(rows, columns) <= Math.max(EXACT_SIZE, rank + 10);

/** By a whole singular value decomposition. */
export function decompose(matrix: Matrix, rank: number): LowRank {
  const svd = new SingularValueDecomposition(matrix, { autoTranspose: true });
  const kept = Math.min(rank, svd.diagonal.length);
  const u = svd.leftSingularVectors.subMatrix(0, matrix.rows - 1, 0, kept - 1);
  const v = svd.rightSingularVectors.subMatrix(0, matrix.columns - 1, 0, kept - 1);
  return {
    b: fromMatrix(u.mulRowVector(svd.diagonal.slice(0, kept))),
    a: fromMatrix(v.transpose()),
  };
}

const orthonormal = (matrix: Matrix): Matrix => new QrDecomposition(matrix).orthogonalMatrix;
