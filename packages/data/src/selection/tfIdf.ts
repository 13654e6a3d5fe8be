import { IntList, roomFor } from '../dedup/growing.js';
import { SparseVectors } from './vectorSet.js';

/** Features that words are hashed to. */
const FEATURES = 2 ** 18;

/** Words and numbers of any script; what stands between them is no feature. */
const WORDS = /[\p{L}\p{N}\p{M}_]+/gu;

/**
 * Vectors of the words of texts without a model. A word that stands n times in a text and in d of N
 * texts has n (ln((1 + N) / (1 + d)) + 1), and a vector has length 1. That is scikit-learn's
 * TfidfVectorizer with its defaults, but for words of one letter, which count here, and for the
 * hash: words that share one of 262,144 places count as one. Memory: 8 bytes for each different
 * word of each text.
 */
export async function tfIdf(texts: AsyncIterable<string>): Promise<SparseVectors> {
  const starts = new IntList();
  const features = new IntList();
  let values = new Float32Array(256);
  const numTexts = new Int32Array(FEATURES);
  starts.push(0);
  for await (const text of texts) {
    const counts = new Map<number, number>();
    // A text without words has its characters.
    const words = text.toLowerCase().match(WORDS) ?? [...text];
    for (const word of words) {
      const feature = hash(word) & (FEATURES - 1);
      counts.set(feature, (counts.get(feature) ?? 0) + 1);
    }
    values = roomFor(values, features.length + counts.size);
    for (const [feature, count] of counts) {
      values[features.length] = count;
      features.push(feature);
      numTexts[feature]!++;
    }
    starts.push(features.length);
  }
  const count = starts.length - 1;
  const idf = Float64Array.from(numTexts, (n) => Math.log((1 + count) / (1 + n)) + 1);
  for (let row = 0; row < count; row++) {
    const start = starts.values[row]!;
    const end = starts.values[row + 1]!;
    let square = 0;
    for (let i = start; i < end; i++) square += (values[i]! * idf[features.values[i]!]!) ** 2;
    const scale = 1 / Math.sqrt(square);
    for (let i = start; i < end; i++) values[i] = values[i]! * idf[features.values[i]!]! * scale;
  }
  return new SparseVectors(
    starts.values.slice(0, count + 1),
    features.values.slice(0, features.length),
    values.slice(0, features.length),
    FEATURES,
  );
}

/** FNV-1a over UTF-16 units, its bits mixed once more. */
function hash(word: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) h = Math.imul(h ^ word.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  return h ^ (h >>> 13);
}
