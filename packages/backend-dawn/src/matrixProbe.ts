import { Engine } from '@attune/core';
import type { DawnBackend } from './dawnBackend.js';

/** Sizes that fill a tile and overhang it. */
const [M, N, K] = [144, 160, 72];

/**
 * Whether the device's matrix unit multiplies: it is an experiment of Dawn's and its drivers', so
 * one product of small integers (exact in float16) is compared with the host's before it is
 * trusted.
 */
export async function matrixUnitWorks(backend: DawnBackend): Promise<boolean> {
  const engine = new Engine(backend);
  const numbers = (count: number, step: number) =>
    Float32Array.from({ length: count }, (_, i) => ((i * step) % 7) - 3);
  const [a, b] = [numbers(M * K, 3), numbers(N * K, 5)];
  const [left, right] = [engine.tensor(a, [M, K]), engine.tensor(b, [N, K])];
  try {
    const product = left.matmul(right, { transposeB: true, compute: 'float16' });
    const got = await product.data();
    product.dispose();
    return got.every((value, at) => {
      const [i, j] = [Math.floor(at / N) * K, (at % N) * K];
      let expected = 0;
      for (let k = 0; k < K; k++) expected += a[i + k]! * b[j + k]!;
      return value === expected;
    });
  } catch {
    return false;
  } finally {
    left.dispose();
    right.dispose();
  }
}
