import { AttuneError } from '@attune/core';
import type { EmbedCall, Embedder } from '../contract/embedder.js';

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
    const vectors: readonly ArrayLike<number>[] = await embedder.embed(chunk, { signal });
    if (!Array.isArray(vectors) || !vectors.every((vector) => vector?.length > 0))
      throw wrong(embedder, 'gave no list of vectors with numbers');
    if (vectors.length !== chunk.length)
      throw wrong(embedder, `gave ${vectors.length} vectors for ${chunk.length} texts`);
    if (count === 0) dimension = vectors[0]!.length;
    const needed = (count + chunk.length) * dimension;
    if (needed > data.length) {
      const larger = new Float32Array(Math.max(needed, 2 * data.length));
      larger.set(data.subarray(0, count * dimension));
      data = larger;
    }
    for (const vector of vectors) {
      if (vector.length !== dimension)
        throw wrong(
          embedder,
          `gave a vector of ${vector.length} numbers after one of ${dimension}`,
        );
      const start = count * dimension;
      data.set(vector, start);
      if (!toUnit(data.subarray(start, start + dimension)))
        throw wrong(embedder, `gave numbers that are not finite for text ${count}`);
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

/** Divides a vector by its length; one of zeros stays. False: it has no finite length. */
export function toUnit(vector: Float32Array): boolean {
  let square = 0;
  for (const x of vector) square += x * x;
  if (!Number.isFinite(square)) return false;
  if (square > 0) {
    const scale = 1 / Math.sqrt(square);
    for (let i = 0; i < vector.length; i++) vector[i]! *= scale;
  }
  return true;
}

const wrong = ({ name }: Embedder, what: string): AttuneError =>
  new AttuneError('DATA_EMBEDDER', `the embedder ${JSON.stringify(name)} ${what}.`, {
    remedy: 'An embedder gives one vector of finite numbers for each text, all of one length.',
  });
