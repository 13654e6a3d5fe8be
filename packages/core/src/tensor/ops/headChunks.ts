import type { ComputeDType } from '../../backend/dtype.js';
import type { Engine } from '../engine.js';
import type { Tensor } from '../tensor.js';

/** Rows of a chunk start where WebGPU can bind: 64 rows of float32 are a multiple of 256 bytes. */
const CHUNK_UNIT = 64;
/** Logits of one chunk take at most this much, if 64 rows fit into it. */
const MAX_CHUNK_BYTES = 64 * 2 ** 20;

/**
 * Rows of logits that exist at one time: less than a tenth of all, in powers of two from 64 on.
 *
 * @param maxBytes the largest buffer of the device
 */
export function chunkRows(rows: number, vocabSize: number, maxBytes: number): number {
  if (rows <= CHUNK_UNIT) return rows;
  const budget = Math.min(MAX_CHUNK_BYTES, maxBytes) / (4 * vocabSize);
  let chunk = CHUNK_UNIT;
  while (chunk * 2 < rows / 10 && chunk * 2 <= budget) chunk *= 2;
  return chunk;
}

/** The rows of a chunk of a tensor [R, ...]: a view. */
export type RowWindow = (x: Tensor) => Tensor;

/**
 * Runs `visit` for each chunk of rows, in order, in a scope of its own.
 *
 * @param visit is given the first row, too
 */
export function forEachChunk(
  engine: Engine,
  rows: number,
  vocabSize: number,
  visit: (window: RowWindow, first: number) => void,
): void {
  const size = chunkRows(rows, vocabSize, engine.bindingBytes);
  for (let first = 0; first < rows; first += size)
    engine.scope('chunk', () =>
      visit(rowWindow(engine, first, Math.min(size, rows - first)), first),
    );
}

/** Views of `count` rows from `first` on. */
const rowWindow =
  (engine: Engine, first: number, count: number): RowWindow =>
  (x) => {
    const [, ...rest] = x.shape;
    const stride = rest.reduce((n, axis) => n * axis, 1);
    return engine.window(x, first * stride, [count, ...rest]);
  };

/**
 * The factor on the slopes of a loss while products multiply them. Probabilities of 1e-5 are too
 * small for float16; 4096 times as large they are not, and the largest is still far from its limit.
 * A power of two: undone without rounding.
 */
export const slopeScale = (compute: ComputeDType): number => (compute === 'float16' ? 4096 : 1);
