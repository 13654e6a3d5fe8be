import { AttuneError } from '@attune/core';
import { describeValue } from '@attune/core/util';
import type { EmbedCall, Embedder } from '../contract/embedder.js';

/**
 * The vectors of texts, looked at: one for each text, of finite numbers, all of one length. Lists
 * of numbers become vectors.
 *
 * @throws DATA_EMBEDDER
 */
export async function askEmbedder(
  embedder: Embedder,
  texts: readonly string[],
  call: EmbedCall,
): Promise<Float32Array[]> {
  const given: unknown = await embedder.embed(texts, call);
  if (!Array.isArray(given))
    throw wrongVectors(embedder, `gave ${describeValue(given)} for ${texts.length} texts`);
  if (given.length !== texts.length)
    throw wrongVectors(embedder, `gave ${given.length} vectors for ${texts.length} texts`);
  const vectors = given.map((vector: unknown) => {
    const isList = vector instanceof Float32Array || Array.isArray(vector);
    if (!isList || vector.length === 0)
      throw wrongVectors(
        embedder,
        `gave ${isList ? 'no numbers' : describeValue(vector)} for a text`,
      );
    return vector instanceof Float32Array ? vector : Float32Array.from(vector as number[]);
  });
  for (const [i, vector] of vectors.entries()) {
    checkLength(embedder, vector, vectors[0]!.length);
    if (!vector.every(Number.isFinite))
      throw wrongVectors(
        embedder,
        `gave numbers that are not finite for ${describeValue(texts[i])}`,
      );
  }
  return vectors;
}

/** @throws DATA_EMBEDDER for a vector of another length than those before it */
export function checkLength(embedder: Embedder, { length }: Float32Array, before: number): void {
  if (length !== before)
    throw wrongVectors(embedder, `gave a vector of ${length} numbers after one of ${before}`);
}

const wrongVectors = ({ name }: Embedder, what: string): AttuneError =>
  new AttuneError('DATA_EMBEDDER', `the embedder ${JSON.stringify(name)} ${what}.`, {
    remedy: 'An embedder gives one vector of finite numbers for each text, all of one length.',
  });
