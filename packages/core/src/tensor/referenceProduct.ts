import { type ComputeDType, roundTo } from '../backend/dtype.js';

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Matrices of a. */
  readonly batch: number;
  /** Matrices of b: as many, or 1 that serves them all. */
  readonly batchOther: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** What a and b are rounded to. */
  readonly compute: ComputeDType;
}

/**
 * The products a b of the reference backend in float64, [batch, m, n]: the sum over l from 0 to k -
 * 1, in that order.
 *
 * Rows of a and columns of b are packed, and 2 x 4 sums run side by side. Each sum adds the same
 * numbers in the same order as three plain loops do, so the bits are theirs.
 */
export function referenceProduct(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { m, n, k, batch, batchOther, transposeA, transposeB, compute }: Product,
): Float64Array {
  const totals = new Float64Array(batch * m * n);
  const columns = Array.from({ length: batchOther }, (_, z) =>
    packed(b, z * k * n, n, k, transposeB, compute),
  );
  for (let z = 0; z < batch; z++) {
    const rows = packed(a, z * m * k, m, k, !transposeA, compute);
    multiply(rows, columns[batchOther === 1 ? 0 : z]!, totals.subarray(z * m * n), m, n, k);
  }
  return totals;
}

/** `count` vectors of k numbers, one behind the other; `whole`: they lie in `data` like that. */
function packed(
  data: ArrayLike<number>,
  start: number,
  count: number,
  k: number,
  whole: boolean,
  compute: ComputeDType,
): Float64Array {
  const exact = compute === 'float32';
  if (exact && whole && data instanceof Float64Array)
    return data.subarray(start, start + count * k);
  const vectors = new Float64Array(count * k);
  for (let i = 0, to = 0; i < count; i++)
    for (let l = 0; l < k; l++, to++) {
      const value = data[start + (whole ? to : l * count + i)]!;
      vectors[to] = exact ? value : roundTo(value, compute);
    }
  return vectors;
}

/** out[i, j] = sum over l of x[i, l] y[j, l]. */
function multiply(
  x: Float64Array,
  y: Float64Array,
  out: Float64Array,
  m: number,
  n: number,
  k: number,
): void {
  const pairs = m - (m % 2);
  const fours = n - (n % 4);
  for (let i = 0; i < pairs; i += 2)
    for (let j = 0; j < fours; j += 4) {
      const x0 = i * k;
      const y0 = j * k;
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let e = 0;
      let f = 0;
      let g = 0;
      let h = 0;
      for (let l = 0; l < k; l++) {
        const first = x[x0 + l]!;
        const second = x[x0 + k + l]!;
        const p = y[y0 + l]!;
        const q = y[y0 + k + l]!;
        const r = y[y0 + 2 * k + l]!;
        const s = y[y0 + 3 * k + l]!;
        a += first * p;
        b += first * q;
        c += first * r;
        d += first * s;
        e += second * p;
        f += second * q;
        g += second * r;
        h += second * s;
      }
      const at = i * n + j;
      out[at] = a;
      out[at + 1] = b;
      out[at + 2] = c;
      out[at + 3] = d;
      out[at + n] = e;
      out[at + n + 1] = f;
      out[at + n + 2] = g;
      out[at + n + 3] = h;
    }
  // What no block of 2 x 4 covers: the last columns, and the last row.
  for (let i = 0; i < m; i++)
    for (let j = i < pairs ? fours : 0; j < n; j++) {
      let total = 0;
      for (let l = 0; l < k; l++) total += x[i * k + l]! * y[j * k + l]!;
      out[i * n + j] = total;
    }
}
