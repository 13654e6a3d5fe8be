import { describe, expect, it } from 'vitest';
import { type ComputeDType, roundTo } from '../../src/backend/dtype.js';
import { referenceProduct } from '../../src/tensor/referenceProduct.js';
import { Rng } from '../../src/util/rng.js';

/** The meaning: three loops, one sum at a time. */
function plain(
  a: Float64Array,
  b: Float64Array,
  sizes: Parameters<typeof referenceProduct>[2],
): Float64Array {
  const { m, n, k, batch, batchOther, transposeA, transposeB, compute } = sizes;
  const out = new Float64Array(batch * m * n);
  for (let z = 0; z < batch; z++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        const [aStart, bStart] = [z * m * k, batchOther === 1 ? 0 : z * k * n];
        let total = 0;
        for (let l = 0; l < k; l++)
          total +=
            roundTo(a[aStart + (transposeA ? l * m + i : i * k + l)]!, compute) *
            roundTo(b[bStart + (transposeB ? j * k + l : l * n + j)]!, compute);
        out[(z * m + i) * n + j] = total;
      }
  return out;
}

const rng = new Rng(5);
/** Over many magnitudes, so that another order of a sum would show. */
const random = (length: number) =>
  Float64Array.from({ length }, () => rng.normal() * 10 ** Math.round(rng.normal() * 3));
const bits = (values: Float64Array) => [...new BigUint64Array(values.buffer, 0, values.length)];

const transposes = [false, true].flatMap((transposeA) =>
  [false, true].map((transposeB) => ({ transposeA, transposeB })),
);

describe('the product of the reference backend has the bits of three plain loops', () => {
  it.each(transposes)('$transposeA, $transposeB', (transposed) => {
    for (const [batch, batchOther] of [
      [1, 1],
      [3, 3],
      [3, 1],
      [0, 1],
    ] as const)
      for (const m of [0, 1, 2, 3, 5])
        for (const n of [1, 3, 4, 5, 9])
          for (const k of [0, 1, 2, 7, 33])
            for (const compute of ['float32', 'float16', 'bfloat16'] satisfies ComputeDType[]) {
              const sizes = { m, n, k, batch, batchOther, ...transposed, compute };
              const [a, b] = [random(batch * m * k), random(batchOther * k * n)];
              const expected = plain(a, b, sizes);
              expect(bits(referenceProduct(a, b, sizes)), JSON.stringify(sizes)).toEqual(
                bits(expected),
              );
            }
  });

  it('with infinities, NaN and zeros of both signs', () => {
    const special = [0, -0, Infinity, -Infinity, Number.NaN, 1, -1, 5e-324];
    const [m, n, k] = [6, 8, 4];
    const pick = (length: number) =>
      Float64Array.from({ length }, (_, i) => special[(i * i + 3 * i) % special.length]!);
    for (const transposed of transposes) {
      const sizes = {
        m,
        n,
        k,
        batch: 1,
        batchOther: 1,
        ...transposed,
        compute: 'float32' as const,
      };
      const [a, b] = [pick(m * k), pick(k * n)];
      expect([...referenceProduct(a, b, sizes)]).toEqual([...plain(a, b, sizes)]);
    }
  });

  it('reads numbers of other arrays, and leaves its operands alone', () => {
    const sizes = {
      m: 2,
      n: 4,
      k: 3,
      batch: 1,
      batchOther: 1,
      transposeA: false,
      transposeB: true,
      compute: 'float32' as const,
    };
    const a = Int32Array.from([1, 2, 3, 4, 5, 6]);
    const b = Float64Array.from({ length: 12 }, (_, i) => i);
    expect([...referenceProduct(a, b, sizes)]).toEqual([...plain(Float64Array.from(a), b, sizes)]);
    expect([...b]).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });
});
