import { AttuneError } from '../util/errors.js';
import { bitsOf, type CodeMap, int8Map } from './codeMaps.js';

/** Numbers as codes of 4 or 8 bits, with one scale for each block of them. */
export interface BlockwiseCodes {
  /** As bitsandbytes packs them: a byte a code, or two codes a byte, the first in the high half. */
  readonly codes: Uint8Array;
  /** Largest |x| of each block; the last block may be short. */
  readonly absmax: Float32Array;
  /** Numbers held. */
  readonly size: number;
  /** Numbers that share a scale. */
  readonly blockSize: number;
  /** What the codes stand for, as a share of absmax. */
  readonly map: CodeMap;
}

/** |absmax| below this counts as this, so that a block of zeros has a reciprocal. */
const TINY = Math.fround(1e-38);

/**
 * Each number over the absmax of its block, as the code of the nearest value of `map` (of two
 * equally near, the lower). Float32 arithmetic, step by step that of bitsandbytes' `quantize_4bit`
 * and `quantize_blockwise` in their default backend: full blocks are multiplied by the reciprocal,
 * a short last block is divided.
 *
 * @param values float32, row by row
 * @param blockSize numbers that share a scale: 64 for NF4, 256 for the scales of double
 *   quantisation, a row's length for int8
 * @throws QUANTIZATION_INVALID a block size that is no positive integer; a number that is not
 *   finite
 */
export function quantizeBlockwise(
  values: Float32Array,
  map: CodeMap,
  blockSize: number,
): BlockwiseCodes {
  const bits = bitsOf(map);
  const { fround } = Math;
  const size = values.length;
  const absmax = absmaxOf(values, blockSize);
  const nearest = nearestCodes(map);
  const codes = new Uint8Array(Math.ceil((size * bits) / 8));
  const write = (i: number, share: number) => {
    const code = codeOf(nearest, Math.max(-1, Math.min(1, share)));
    if (bits === 8) codes[i] = code;
    else codes[i >> 1]! |= i & 1 ? code : code << 4;
  };
  const { cells } = nearest;
  const fill = bits === 8 ? writeBytes : blockSize % 2 === 0 ? writePairs : writeNone;
  const numFull = Math.floor(size / blockSize);
  for (let block = 0; block < numFull; block++) {
    const first = block * blockSize;
    const end = first + blockSize;
    const reciprocal = fround(1 / Math.max(absmax[block]!, TINY));
    const seen = fill(values, first, end, reciprocal, cells, codes);
    if (seen < UNSURE) continue;
    const scale = reciprocal * CELLS;
    for (let i = first; i < end; i++)
      if (fill === writeNone || cells[(values[i]! * scale + CELLS) | 0]! === UNSURE)
        write(i, fround(values[i]! * reciprocal));
  }
  if (numFull < absmax.length) {
    const scale = Math.max(absmax[numFull]!, TINY);
    absmax[numFull] = scale;
    for (let i = numFull * blockSize; i < size; i++) write(i, fround(values[i]! / scale));
  }
  // An odd number of 4-bit codes ends with the code of zero.
  if (bits === 4 && size & 1) codes[size >> 1]! |= codeOf(nearest, 0);
  return { codes, absmax, size, blockSize, map };
}

/** What finds the code of a share of absmax. */
interface NearestCodes {
  /** Codes in the order of what they stand for. */
  readonly order: readonly number[];
  /** The limits between neighbours. */
  readonly limits: Float32Array;
  /**
   * The code of each share by its cell, {@link CELLS} to 1, from -1 on: right for all shares of the
   * cell, or {@link UNSURE} where a limit lies in it.
   */
  readonly cells: Uint16Array;
}

/** Cells between 0 and 1: so many that few shares lie in a cell with a limit. A power of two. */
const CELLS = 8192;
/** Above all codes. */
const UNSURE = 256;

function nearestCodes(map: CodeMap): NearestCodes {
  const { fround } = Math;
  const order = Array.from(map.keys()).sort((a, b) => map[a]! - map[b]!);
  const limits = Float32Array.from(order.slice(1), (code, i) =>
    fround(fround(map[order[i]!]! + map[code]!) / 2),
  );
  const cells = new Uint16Array(2 * CELLS + 1).fill(order[0]!);
  // A share is rounded to float32, its cell comes of the product before: off by 2^-25 at most.
  const slack = 2 ** -23;
  const cell = (share: number) => Math.max(0, Math.floor((share + 1) * CELLS));
  limits.forEach((limit, i) => {
    cells.fill(order[i + 1]!, cell(limit + slack) + 1);
  });
  for (const limit of limits) cells.fill(UNSURE, cell(limit - slack), cell(limit + slack) + 1);
  return { order, limits, cells };
}

const codeOf = ({ order, limits }: NearestCodes, share: number): number =>
  order[rank(limits, share)]!;

/**
 * Two codes a byte, zero where the cell is unsure.
 *
 * @returns at least UNSURE where a cell is
 */
function writePairs(
  values: Float32Array,
  first: number,
  end: number,
  reciprocal: number,
  cells: Uint16Array,
  codes: Uint8Array,
): number {
  // The product of two float32 numbers is exact in float64, and stays so times a power of two.
  const scale = reciprocal * CELLS;
  let seen = 0;
  for (let i = first; i < end; i += 2) {
    const high = cells[(values[i]! * scale + CELLS) | 0]!;
    const low = cells[(values[i + 1]! * scale + CELLS) | 0]!;
    seen |= high | low;
    codes[i >> 1] = (high << 4) | low;
  }
  return seen;
}

/** As {@link writePairs}, a byte a code. */
function writeBytes(
  values: Float32Array,
  first: number,
  end: number,
  reciprocal: number,
  cells: Uint16Array,
  codes: Uint8Array,
): number {
  const scale = reciprocal * CELLS;
  let seen = 0;
  for (let i = first; i < end; i++) {
    const code = cells[(values[i]! * scale + CELLS) | 0]!;
    seen |= code;
    codes[i] = code;
  }
  return seen;
}

/** For blocks that share bytes with their neighbours: all codes are written one by one. */
const writeNone: typeof writePairs = () => UNSURE;

/** The largest |x| of each block. */
function absmaxOf(values: Float32Array, blockSize: number): Float32Array {
  if (!Number.isInteger(blockSize) || blockSize < 1)
    throw new AttuneError('QUANTIZATION_INVALID', `a block has ${blockSize} numbers.`, {
      remedy: 'Give a positive integer; 64 is the default of bitsandbytes for 4 bits.',
    });
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  // Bits of |x| are in the order of |x|, infinity above all numbers and NaN above that.
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const largest = new Int32Array(absmax.buffer);
  for (let block = 0; block < largest.length; block++) {
    const first = block * blockSize;
    largest[block] = largestMagnitude(bits, first, Math.min(bits.length, first + blockSize));
    if (largest[block]! >= INFINITY_BITS) throw notFinite(values);
  }
  return absmax;
}

const INFINITY_BITS = 0x7f800000;

/** Without a branch: which number is the largest cannot be foretold. */
function largestMagnitude(bits: Int32Array, first: number, end: number): number {
  let largest = 0;
  for (let i = first; i < end; i++) {
    const less = largest - (bits[i]! & 0x7fffffff);
    largest -= less & (less >> 31);
  }
  return largest;
}

function notFinite(values: Float32Array): AttuneError {
  const at = values.findIndex((x) => !Number.isFinite(x));
  return new AttuneError('QUANTIZATION_INVALID', `value ${at} is ${values[at]}.`, {
    remedy: 'Only finite numbers can be quantised: check the checkpoint that they came from.',
  });
}

/** How many limits lie below `x`. */
function rank(limits: Float32Array, x: number): number {
  let low = 0;
  let high = limits.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (limits[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The numbers that the codes stand for: map[code] * absmax of the block, in float32. */
export function dequantizeBlockwise(quantized: BlockwiseCodes): Float32Array {
  const { codes, absmax, size, blockSize, map } = quantized;
  const bits = bitsOf(map);
  return Float32Array.from({ length: size }, (_, i) => {
    const code = bits === 8 ? codes[i]! : (codes[i >> 1]! >> (i & 1 ? 0 : 4)) & 15;
    return map[code]! * absmax[Math.floor(i / blockSize)]!;
  });
}

/**
 * int8 by rows, as the weights of LLM.int8() are held: round(x * ((1 / absmax of the row) * 127)),
 * halves to the even number, each step rounded to float32. The reciprocal comes first, as
 * bitsandbytes' portable backend computes 127 / absmax: it decides codes whose share lies at a
 * half. A row of zeros has the code 0. Dettmers et al. 2022, https://arxiv.org/abs/2208.07339
 *
 * @param columns length of a row
 * @throws QUANTIZATION_INVALID as {@link quantizeBlockwise}
 */
export function quantizeInt8(values: Float32Array, columns: number): BlockwiseCodes {
  const map = int8Map();
  const absmax = absmaxOf(values, columns);
  const codes = new Uint8Array(values.length);
  for (let row = 0; row < absmax.length; row++) {
    const largest = absmax[row]!;
    if (largest === 0) continue;
    const scale = Math.fround(Math.fround(1 / largest) * 127);
    writeInt8(values, row * columns, Math.min(values.length, (row + 1) * columns), scale, codes);
  }
  return { codes, absmax, size: values.length, blockSize: columns, map };
}

/** A sum with it has no fraction: rounding to nearest even, the processor's own, takes it off. */
const NO_FRACTION = 1.5 * 2 ** 52;

function writeInt8(
  values: Float32Array,
  first: number,
  end: number,
  scale: number,
  codes: Uint8Array,
): void {
  for (let i = first; i < end; i++)
    codes[i] = (Math.fround(values[i]! * scale) + NO_FRACTION - NO_FRACTION) | 0;
}
