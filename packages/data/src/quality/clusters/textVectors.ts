/** Dimensions that words are hashed into. */
export const BUCKETS = 2 ** 14;

/** A sparse vector: buckets in rising order, and their values. */
export interface SparseVector {
  readonly buckets: Uint16Array;
  readonly values: Float32Array;
}

/** Characters of a text that count. */
const LONGEST_TEXT = 20_000;
/** Words; a character each for scripts without spaces. */
const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{M}]+|\p{N}+/gu;

/** FNV-1a over UTF-16 units, 32 bits. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Words of a text in lower case; all numbers are one word. */
export const wordsIn = (text: string): string[] =>
  (text.slice(0, LONGEST_TEXT).toLowerCase().match(WORD) ?? []).map((word) =>
    /^\p{N}/u.test(word) ? '0' : word,
  );

/** How often each bucket is hit: 1 + ln(count), as tf-idf has it. Not yet weighted. */
export function countVector(text: string): SparseVector {
  const counts = new Map<number, number>();
  for (const word of wordsIn(text)) {
    const bucket = hashOf(word) % BUCKETS;
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  const entries = [...counts].sort(([a], [b]) => a - b);
  return {
    buckets: Uint16Array.from(entries, ([bucket]) => bucket),
    values: Float32Array.from(entries, ([, count]) => 1 + Math.log(count)),
  };
}

/** Times the weights of the buckets, scaled to length 1. */
export function weighted({ buckets, values }: SparseVector, weights: Float32Array): SparseVector {
  const scaled = values.map((value, i) => value * weights[buckets[i]!]!);
  const norm = Math.sqrt(scaled.reduce((sum, value) => sum + value * value, 0));
  return { buckets, values: norm === 0 ? scaled : scaled.map((value) => value / norm) };
}

/** Hashes of the words of a text, in their order. */
export const hashesOf = (text: string): Uint32Array => Uint32Array.from(wordsIn(text), hashOf);
