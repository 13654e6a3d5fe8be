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

const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** FNV-1a over UTF-16 units, 32 bits. */
function hashOf(word: string): number {
  let hash = OFFSET;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), PRIME);
  return hash >>> 0;
}

/** All numbers are one word. */
const NUMBER = hashOf('0');

/** Words of a text in lower case; all numbers are "0". */
export const wordsIn = (text: string): string[] =>
  (text.slice(0, LONGEST_TEXT).toLowerCase().match(WORD) ?? []).map((word) =>
    /^\p{N}/u.test(word) ? '0' : word,
  );

/** Hashes of {@link wordsIn}, in their order. */
export const hashesOf = (text: string): Uint32Array =>
  asciiHashes(text) ?? Uint32Array.from(wordsIn(text), hashOf);

/** The same for a text in ASCII, as most are: no word is cut out. null: it is another text. */
function asciiHashes(text: string): Uint32Array | null {
  const length = Math.min(text.length, LONGEST_TEXT);
  const hashes = new Uint32Array(length);
  let words = 0;
  for (let i = 0; i < length; ) {
    const code = text.charCodeAt(i);
    if (code > 127) return null;
    if (isLetter(code)) {
      let hash = OFFSET;
      for (let c = code; isLetter(c); c = text.charCodeAt(++i)) {
        if (i >= length) break;
        hash = Math.imul(hash ^ (c | 32), PRIME);
      }
      hashes[words++] = hash >>> 0;
    } else if (isDigit(code)) {
      while (i < length && isDigit(text.charCodeAt(i))) i++;
      hashes[words++] = NUMBER;
    } else i++;
  }
  return hashes.subarray(0, words);
}

const isLetter = (code: number): boolean => (code | 32) >= 97 && (code | 32) <= 122;
const isDigit = (code: number): boolean => code >= 48 && code <= 57;

/** How often each bucket is hit: 1 + ln(count), as tf-idf has it. Not yet weighted. */
export function countVector(text: string): SparseVector {
  const hit = Uint16Array.from(hashesOf(text), (hash) => hash % BUCKETS).sort();
  const buckets = new Uint16Array(hit.length);
  const values = new Float32Array(hit.length);
  let length = 0;
  for (let i = 0; i < hit.length; length++) {
    const begin = i;
    while (hit[i] === hit[begin] && i < hit.length) i++;
    buckets[length] = hit[begin]!;
    values[length] = 1 + Math.log(i - begin);
  }
  return { buckets: buckets.slice(0, length), values: values.slice(0, length) };
}

/** Times the weights of the buckets, scaled to length 1. */
export function weighted({ buckets, values }: SparseVector, weights: Float32Array): SparseVector {
  const scaled = values.map((value, i) => value * weights[buckets[i]!]!);
  const norm = Math.sqrt(scaled.reduce((sum, value) => sum + value * value, 0));
  return { buckets, values: norm === 0 ? scaled : scaled.map((value) => value / norm) };
}
