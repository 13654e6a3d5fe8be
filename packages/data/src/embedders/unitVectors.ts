import type { EmbedCall, Embedder } from '../contract/embedder.js';
import { askEmbedder, checkLength } from './askEmbedder.js';

/** Vectors one after the other, [count, dimension], each of length 1 or all 0. */
export interface UnitVectors {
  readonly data: Float32Array;
  readonly count: number;
  readonly dimension: number;
}

/** Texts that an embedder is given at once. */
const CHUNK = 512;

/** What {@link unitVectors} takes. */
export interface UnitVectorsCall extends EmbedCall {
  readonly onProgress?: (done: number) => void;
}

/**
 * The vectors of texts, divided by their lengths: products of them are cosines. Memory holds one
 * chunk of texts, and the vectors.
 *
 * @throws DATA_EMBEDDER for an embedder that gives another number of vectors, vectors of several
 *   lengths, or numbers that are not finite
 */
export async function unitVectors(
  texts: AsyncIterable<string> | Iterable<string>,
  embedder: Embedder,
  { signal = null, onProgress }: UnitVectorsCall = {},
): Promise<UnitVectors> {
  let data = new Float32Array(0);
  let count = 0;
  let dimension = 0;
  let chunk: string[] = [];
  const flush = async () => {
    const vectors = await askEmbedder(embedder, chunk, { signal });
    if (count === 0) dimension = vectors[0]!.length;
    const needed = (count + chunk.length) * dimension;
    if (needed > data.length) {
      const larger = new Float32Array(Math.max(needed, 2 * data.length));
      larger.set(data.subarray(0, count * dimension));
      data = larger;
    }
    for (const vector of vectors) {
      checkLength(embedder, vector, dimension);
      const start = count * dimension;
      data.set(vector, start);
      toUnit(data.subarray(start, start + dimension));
      count++;
    }
    chunk = [];
    onProgress?.(count);
  };
  for await (const text of texts) {
    chunk.push(text);
    if (chunk.length === CHUNK) await flush();
  }
  if (chunk.length > 0) await flush();
  return { data: data.subarray(0, count * dimension), count, dimension };
}

/** Divides a vector by its length; one of zeros stays. */
function toUnit(vector: Float32Array): void {
  // In float64: the square of no finite float32 is beyond it.
  let square = 0;
  for (const x of vector) square += x * x;
  if (square === 0) return;
  const scale = 1 / Math.sqrt(square);
  for (let i = 0; i < vector.length; i++) vector[i]! *= scale;
}
