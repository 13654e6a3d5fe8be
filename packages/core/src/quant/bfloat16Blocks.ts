import type { BlockwiseCodes } from './blockwise.js';
import { bitsOf, type CodeMap } from './codeMaps.js';

/** How the numbers of a block become codes. */
export interface BlockRule {
  /** What codes stand for. */
  readonly map: CodeMap;
  /**
   * From here to `highest`, a code depends on the ratio of a number to the largest |x| of its block
   * alone: both times a power of two give the same one. At least 2^-110.
   */
  readonly lowest: number;
  /** At most 2^120. */
  readonly highest: number;
  /** Codes and scale of one block. Codes of 8 bits are 0 for all numbers near 0. */
  encode(block: Float32Array): BlockwiseCodes;
}

/**
 * Codes of blocks of bfloat16 numbers, given by their bits.
 *
 * @returns null where the rule itself is to be asked: a block is no multiple of 8 numbers, or lies
 *   across words of 4 bytes; a number is above `highest`, or not finite
 */
export type Bfloat16Blocks = (bits: Uint16Array, blockSize: number) => BlockwiseCodes | null;

/** The exponent that tables have for the largest |x|: the highest, so that they end with it. */
const TOP = 0x7f80;
/** That of the block from which a table is made: 1 <= absmax < 2. */
const ONE = 0x3f80;
/** Below it, a number is less than 2^-15 of the largest, and may be 0 or subnormal. */
const FLOOR = TOP - 16 * 0x80;
const SIGN = 0x8000;
/** Above all codes of 4 bits: which code it is cannot be seen from the ratio. */
const UNSURE = 0x80;

/**
 * A bfloat16 has 7 bits of fraction, so blocks have 128 kinds of largest numbers, up to a power of
 * two. For each, a table gives the codes of all ratios, as the rule has them: it is asked for a
 * block of all numbers. So there is no arithmetic for a number, and none that could round
 * otherwise. Bits are read two numbers at a time.
 */
export function bfloat16Blocks(rule: BlockRule): Bfloat16Blocks {
  const codeBits = bitsOf(rule.map);
  const tables: Uint8Array[] = [];
  const tableOf = (largest: number) => {
    const fraction = largest & 0x7f;
    tables[fraction] ??= makeTable(rule, fraction);
    return tables[fraction];
  };
  const writeCodes = codeBits === 4 ? writeNibbles : writeBytes;
  return (bits, blockSize) => {
    if (blockSize % 8 !== 0 || bits.length % blockSize !== 0 || bits.byteOffset % 4 !== 0)
      return null;
    const words = new Int32Array(bits.buffer, bits.byteOffset, bits.length / 2);
    const codes = new Uint8Array((bits.length * codeBits) / 8);
    const codeWords = new Int32Array(codes.buffer);
    const absmax = new Float32Array(bits.length / blockSize);
    const absmaxBits = new Int32Array(absmax.buffer);
    for (let block = 0; block < absmax.length; block++) {
      const first = (block * blockSize) / 2;
      const end = first + blockSize / 2;
      const largest = largestOf(words, first, end);
      absmaxBits[block] = largest << 16;
      const scale = absmax[block]!;
      if (!(scale <= rule.highest)) return null;
      if (scale >= rule.lowest) {
        const toTop = TOP - (largest & TOP);
        const isSure = writeCodes(words, first, end, tableOf(largest), toTop, codeWords);
        if (isSure) continue;
      }
      const held = rule.encode(widen(bits.subarray(2 * first, 2 * end)));
      codes.set(held.codes, (first * codeBits) / 4);
      absmax[block] = held.absmax[0]!;
    }
    return { codes, absmax, size: bits.length, blockSize, map: rule.map };
  };
}

function widen(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < words.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** The bits of the largest |x|, infinity above all numbers and NaN above that. */
function largestOf(words: Int32Array, first: number, end: number): number {
  // Without a branch: which number is the largest cannot be foretold. Two chains at a time, each of
  // two numbers: the higher one has the bits of the lower behind it, which decide nothing.
  let [high, low, high2, low2] = [0, 0, 0, 0];
  for (let i = first; i < end; i += 2) {
    const word = words[i]!;
    const word2 = words[i + 1]!;
    const less = high - (word & 0x7fffffff);
    const lessLow = low - ((word << 16) & 0x7fffffff);
    const less2 = high2 - (word2 & 0x7fffffff);
    const lessLow2 = low2 - ((word2 << 16) & 0x7fffffff);
    high -= less & (less >> 31);
    low -= lessLow & (lessLow >> 31);
    high2 -= less2 & (less2 >> 31);
    low2 -= lessLow2 & (lessLow2 >> 31);
  }
  return Math.max(high, low, high2, low2) >>> 16;
}

/**
 * The code of each number in a block whose largest has this fraction, by its bits; exponents are
 * raised by what is missing to {@link TOP} for the largest.
 */
function makeTable(rule: BlockRule, fraction: number): Uint8Array {
  // Zero, and each number from the floor to the largest, with both signs.
  const count = TOP + fraction + 1 - FLOOR;
  const numbers = new Uint16Array(1 + 2 * count);
  for (let i = 0; i < count; i++) {
    numbers[1 + i] = FLOOR - TOP + ONE + i;
    numbers[1 + count + i] = SIGN | numbers[1 + i]!;
  }
  const { codes } = rule.encode(widen(numbers));
  const is4Bits = bitsOf(rule.map) === 4;
  const codeAt = (i: number) => (is4Bits ? (codes[i >> 1]! >> (i & 1 ? 0 : 4)) & 15 : codes[i]!);
  const table = new Uint8Array(2 * SIGN);
  for (const [sign, from] of [
    [0, 1],
    [SIGN, 1 + count],
  ] as const) {
    for (let i = 0; i < count; i++) table[(sign | FLOOR) + i] = codeAt(from + i);
    // Codes rise with numbers: between two that have the same one, all have it.
    const isSame = codeAt(0) === codeAt(from);
    table.fill(isSame || !is4Bits ? codeAt(0) : UNSURE, sign, sign | FLOOR);
  }
  return table;
}

/** Writes the codes of a block. @returns whether they are right */
type WriteCodes = (
  words: Int32Array,
  first: number,
  end: number,
  table: Uint8Array,
  toTop: number,
  codes: Int32Array,
) => boolean;

/** Two codes a byte, the first in the high half. */
const writeNibbles: WriteCodes = (words, first, end, table, toTop, codes) => {
  let seen = 0;
  for (let i = first; i < end; i += 4) {
    const ab = words[i]!;
    const cd = words[i + 1]!;
    const ef = words[i + 2]!;
    const gh = words[i + 3]!;
    const a = table[toTop + (ab & 0xffff)]!;
    const b = table[toTop + (ab >>> 16)]!;
    const c = table[toTop + (cd & 0xffff)]!;
    const d = table[toTop + (cd >>> 16)]!;
    const e = table[toTop + (ef & 0xffff)]!;
    const f = table[toTop + (ef >>> 16)]!;
    const g = table[toTop + (gh & 0xffff)]!;
    const h = table[toTop + (gh >>> 16)]!;
    seen |= a | b | c | d | e | f | g | h;
    codes[i >> 2] =
      (a << 4) | b | (c << 12) | (d << 8) | (e << 20) | (f << 16) | (g << 28) | (h << 24);
  }
  return seen < UNSURE;
};

/** A byte a code. */
const writeBytes: WriteCodes = (words, first, end, table, toTop, codes) => {
  for (let i = first; i < end; i += 2) {
    const ab = words[i]!;
    const cd = words[i + 1]!;
    codes[i >> 1] =
      table[toTop + (ab & 0xffff)]! |
      (table[toTop + (ab >>> 16)]! << 8) |
      (table[toTop + (cd & 0xffff)]! << 16) |
      (table[toTop + (cd >>> 16)]! << 24);
  }
  return true;
};
