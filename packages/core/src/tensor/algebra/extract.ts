import { type Dense, frobeniusNorm, type OwnDense } from './dense.js';
import { exactTruncatedSvd } from './exactSvd.js';
import { type LowRank, truncatedSvd } from './svd.js';

/**
 * How many directions are kept: `rank`; or the fewest that hold the share `energy` of |M|^2, at
 * most `maxRank`. A matrix has no more than its smaller side.
 */
export type RankChoice =
  | { readonly rank: number }
  | { readonly energy: number; readonly maxRank: number };

/** A matrix as two factors of one size. */
export interface Extracted extends LowRank {
  /** |B A|^2 / |M|^2: 1 is all of it, or of zeros. */
  readonly energy: number;
  /** |M| */
  readonly norm: number;
}

/**
 * Up to this many rows or columns the nearest matrix is found to rounding, in up to twice the time
 * that iteration takes; beyond, iteration holds 99.6 % or more of what the nearest would, where
 * singular values fall like i^-1/2 or faster.
 */
const EXACT_SIDE = 1024;

/** Where energy is asked for, this many directions are tried first, then twice as many, ... */
const FIRST_LOOK = 16;

/** Rounding of a sum of squares, where all of it is asked for. */
const ROUNDING = 1e-12;

/**
 * The nearest matrix of a rank, M ~ U S V^T, as B = U sqrt(S) and A = sqrt(S) V^T: what turns a
 * difference of weights into a LoRA.
 *
 * @param matrix [m, n]
 * @see mergekit `scripts/extract_lora.py` with --distribute-scale
 */
export function extractFactors(matrix: Dense, choice: RankChoice): Extracted {
  const side = Math.min(matrix.rows, matrix.columns);
  const norm = frobeniusNorm(matrix);
  const total = norm ** 2;
  if ('rank' in choice) {
    const rank = Math.min(choice.rank, side);
    if (total === 0) return { ...zeros(matrix, rank), energy: 1, norm };
    return { ...balanced(nearest(matrix, rank)), norm };
  }
  if (total === 0) return { ...zeros(matrix, 1), energy: 1, norm };
  const most = Math.min(choice.maxRank, side);
  const wanted = choice.energy * total * (1 - ROUNDING);
  for (let look = Math.min(FIRST_LOOK, most); ; look = Math.min(2 * look, most)) {
    const found = nearest(matrix, look);
    let rank = 0;
    let held = 0;
    while (rank < look && held < wanted) held += squareOfColumn(found.b, rank++);
    if (held >= wanted || look === most) return { ...balanced(cut(found, rank)), norm };
  }

  /** With the energy of the factors that are kept. */
  function balanced(found: LowRank): LowRank & { readonly energy: number } {
    let held = 0;
    const { rows, data } = found.b;
    const rank = found.a.rows;
    for (let i = 0; i < rank; i++) {
      const square = squareOfColumn(found.b, i);
      held += square;
      const root = square ** 0.25; // of the singular value
      for (let row = 0; row < rows; row++) data[row * rank + i]! /= root || 1;
      const { columns } = found.a;
      for (let j = 0; j < columns; j++) found.a.data[i * columns + j]! *= root;
    }
    return { ...found, energy: held / total };
  }
}

const nearest = (matrix: Dense, rank: number): LowRank =>
  Math.min(matrix.rows, matrix.columns) <= EXACT_SIDE
    ? exactTruncatedSvd(matrix, rank)
    : truncatedSvd(matrix, rank);

/** s_i^2, of B = U S. */
function squareOfColumn({ rows, columns, data }: OwnDense, column: number): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) sum += data[row * columns + column]! ** 2;
  return sum;
}

/** The first directions alone. */
function cut({ a, b }: LowRank, rank: number): LowRank {
  const data = new Float64Array(b.rows * rank);
  for (let row = 0; row < b.rows; row++)
    data.set(b.data.subarray(row * b.columns, row * b.columns + rank), row * rank);
  return {
    a: { ...a, rows: rank, data: a.data.slice(0, rank * a.columns) },
    b: { ...b, columns: rank, data },
  };
}

const zeros = ({ rows, columns }: Dense, rank: number): LowRank => ({
  a: { rows: rank, columns, data: new Float64Array(rank * columns) },
  b: { rows, columns: rank, data: new Float64Array(rows * rank) },
});
