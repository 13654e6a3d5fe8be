import { Matrix } from 'ml-matrix';

/** A matrix on the host, row by row: element (i, j) is data[i * columns + j]. */
export interface Dense {
  readonly rows: number;
  readonly columns: number;
  readonly data: ArrayLike<number>;
}

/** A matrix that has just been made. */
export interface OwnDense extends Dense {
  readonly data: Float64Array;
}

/** L R: [m, k] x [k, n] -> [m, n], summed over k in its order. */
export function product(left: Dense, right: Dense): OwnDense {
  const [m, k, n] = [left.rows, left.columns, right.columns];
  const data = new Float64Array(m * n);
  const column = new Float64Array(k);
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < k; i++) column[i] = right.data[i * n + j]!;
    for (let row = 0; row < m; row++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += left.data[row * k + i]! * column[i]!;
      data[row * n + j] = sum;
    }
  }
  return { rows: m, columns: n, data };
}

/**
 * M N: [m, n] x [n, k] -> [m, k], summed over n in its order, for a small k: M is read once, row by
 * row.
 */
export function timesNarrow({ rows, columns, data }: Dense, narrow: OwnDense): OwnDense {
  const width = narrow.columns;
  const out = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++)
      addScaled(out, row * width, data[row * columns + j]!, narrow.data, j * width, width);
  return { rows, columns: width, data: out };
}

/** M^T N: [m, n]^T x [m, k] -> [n, k], likewise. */
export function transposedTimesNarrow({ rows, columns, data }: Dense, narrow: OwnDense): OwnDense {
  const width = narrow.columns;
  const out = new Float64Array(columns * width);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++)
      addScaled(out, j * width, data[row * columns + j]!, narrow.data, row * width, width);
  return { rows: columns, columns: width, data: out };
}

/** out[at + i] += factor * values[from + i] for i < count */
function addScaled(
  out: Float64Array,
  at: number,
  factor: number,
  values: Float64Array,
  from: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) out[at + i]! += factor * values[from + i]!;
}

/** [m, n] -> [n, m] */
export function transposed({ rows, columns, data }: Dense): OwnDense {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j]!;
  return { rows: columns, columns: rows, data: out };
}

/** |M| = sqrt(sum m_ij^2) */
export function frobeniusNorm({ data }: Dense): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]! * data[i]!;
  return Math.sqrt(sum);
}

export const toMatrix = ({ rows, columns, data }: Dense): Matrix =>
  Matrix.from1DArray(rows, columns, Array.from(data));

export const fromMatrix = (matrix: Matrix): OwnDense => ({
  rows: matrix.rows,
  columns: matrix.columns,
  data: Float64Array.from(matrix.to1DArray()),
});
