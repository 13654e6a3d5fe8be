import { type Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import { Rng } from '../../util/rng.js';
import {
  type Dense,
  fromMatrix,
  type OwnDense,
  timesNarrow,
  toMatrix,
  transposed,
  transposedTimesNarrow,
} from './dense.js';

/** B [m, r] and A [r, n], whose product is what was decomposed, or the nearest of rank r. */
export interface LowRank {
  readonly a: OwnDense;
  readonly b: OwnDense;
}

/** A matrix of no more rows or columns is decomposed whole; a larger one is projected first. */
const EXACT_SIZE = 256;

/**
 * The nearest matrix of rank r: M ~ U_r S_r V_r^T, as B = U_r S_r and A = V_r^T.
 *
 * Up to 256 rows or columns by a whole singular value decomposition; beyond, by subspace iteration
 * with 10 more directions and twice `passes` passes (Halko et al., algorithm 4.4), with a seed of
 * its own: exact for matrices of rank r; for others it holds nearly as much, in directions that may
 * be others ({@link exactTruncatedSvd} finds the directions themselves).
 *
 * @param matrix [m, n]
 * @see arXiv:0909.4061
 */
export function truncatedSvd(matrix: Dense, rank: number, passes = 3): LowRank {
  if (isSmall(matrix, rank)) return wholeSvd(toMatrix(matrix), rank);
  const rng = new Rng(0, 0x737664); // 'svd'
  const width = rank + 10;
  const probe = {
    rows: matrix.columns,
    columns: width,
    data: Float64Array.from({ length: matrix.columns * width }, () => rng.normal()),
  };
  let basis = orthonormalColumns(timesNarrow(matrix, probe));
  for (let pass = 0; pass < passes; pass++)
    basis = orthonormalColumns(
      timesNarrow(matrix, orthonormalColumns(transposedTimesNarrow(matrix, basis))),
    );
  const inside = transposed(transposedTimesNarrow(matrix, basis)); // Q^T M
  const { a, b } = wholeSvd(toMatrix(inside), rank);
  return { a, b: timesNarrow(basis, b) };
}

/**
 * {@link truncatedSvd} of left [m, k] x right [k, n], without the [m, n] product: two QR
 * decompositions and the singular values of a [k, k] core.
 */
export function truncatedSvdOfProduct(left: Dense, right: Dense, rank: number): LowRank {
  const [l, r] = [toMatrix(left), toMatrix(right)];
  if (l.columns >= Math.min(l.rows, r.columns)) return wholeSvd(l.mmul(r), rank);
  const outer = new QrDecomposition(l);
  const inner = new QrDecomposition(r.transpose());
  const core = outer.upperTriangularMatrix.mmul(inner.upperTriangularMatrix.transpose());
  const { a, b } = wholeSvd(core, rank);
  return {
    b: fromMatrix(outer.orthogonalMatrix.mmul(toMatrix(b))),
    a: fromMatrix(toMatrix(a).mmul(inner.orthogonalMatrix.transpose())),
  };
}

/** Q of M = Q R: orthonormal columns that span those of M [m, n], m >= n. */
export const orthonormalColumns = (matrix: Dense): OwnDense =>
  fromMatrix(orthonormal(toMatrix(matrix)));

/** Whether a whole decomposition is the quickest. */
export const isSmall = ({ rows, columns }: Dense | Matrix, rank: number): boolean =>
  Math.min(rows, columns) <= Math.max(EXACT_SIZE, rank + 10);

/** By a whole singular value decomposition. */
export function wholeSvd(matrix: Matrix, rank: number): LowRank {
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
