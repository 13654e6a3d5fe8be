import { createHash } from 'node:crypto';
import type { PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';
import type { EmbedCall, Embedder } from '../contract/embedder.js';
import { askEmbedder } from './askEmbedder.js';

/** An embedder whose vectors are kept, by what they depend on and the text. */
export function cachedEmbedder(embedder: Embedder, cache: StageCache): Embedder {
  let fingerprint: Promise<PlainJson> | null = null;
  return {
    name: embedder.name,
    fingerprint: () => embedder.fingerprint(),
    async embed(texts: readonly string[], call: EmbedCall = {}): Promise<readonly Float32Array[]> {
      fingerprint ??= Promise.resolve(embedder.fingerprint());
      const prefix = JSON.stringify(await fingerprint);
      const keys = texts.map(
        (text) =>
          `vector-${createHash('sha256').update(`${prefix}\n`).update(text).digest('hex').slice(0, 40)}`,
      );
      const vectors = (await Promise.all(keys.map((key) => cache.get(key)))).map(fromCache);
      const left = vectors.flatMap((vector, i) => (vector ? [] : [i]));
      if (left.length === 0) return vectors as Float32Array[];
      const found = await askEmbedder(
        embedder,
        left.map((i) => texts[i]!),
        call,
      );
      await Promise.all(
        left.map((place, i) => {
          const vector = found[i]!;
          vectors[place] = vector;
          const bytes = Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
          return cache.set(keys[place]!, bytes.toString('base64'));
        }),
      );
      return vectors as Float32Array[];
    },
  };
}

function fromCache(value: PlainJson | undefined): Float32Array | null {
  if (typeof value !== 'string') return null;
  const bytes = Buffer.from(value, 'base64');
  return new Float32Array(new Uint8Array(bytes).buffer);
}
