import { Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import { Rng } from '../../util/rng.js';
import { type Dense, fromMatrix, type OwnDense, toMatrix } from './dense.js';

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
  const own = toMatrix(matrix);
  if (isSmall(own, rank)) return wholeSvd(own, rank);
  const rng = new Rng(0, 0x737664); // 'svd'
  const probe = new Matrix(own.columns, rank + 10);
  for (let i = 0; i < probe.rows; i++)
    for (let j = 0; j < probe.columns; j++) probe.set(i, j, rng.normal());
  const across = own.transpose();
  let basis = orthonormal(own.mmul(probe));
  for (let pass = 0; pass < passes; pass++)
    basis = orthonormal(own.mmul(orthonormal(across.mmul(basis))));
  const { a, b } = wholeSvd(basis.transpose().mmul(own), rank);
  return { a, b: fromMatrix(basis.mmul(toMatrix(b))) };
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
