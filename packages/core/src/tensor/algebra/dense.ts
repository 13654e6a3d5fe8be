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
