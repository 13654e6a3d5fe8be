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
  // Codes in the order of what they stand for, and the limits between neighbours.
  const order = Array.from(map.keys()).sort((a, b) => map[a]! - map[b]!);
  const limits = Float32Array.from(order.slice(1), (code, i) =>
    fround(fround(map[order[i]!]! + map[code]!) / 2),
  );
  const codes = new Uint8Array(Math.ceil((size * bits) / 8));
  for (let block = 0; block < absmax.length; block++) {
    const first = block * blockSize;
    const end = Math.min(size, first + blockSize);
    const isShort = end - first < blockSize;
    const scale = Math.max(absmax[block]!, TINY);
    if (isShort) absmax[block] = scale;
    const reciprocal = fround(1 / scale);
    for (let i = first; i < end; i++) {
      const share = isShort ? fround(values[i]! / scale) : fround(values[i]! * reciprocal);
      const code = order[rank(limits, Math.max(-1, Math.min(1, share)))]!;
      if (bits === 8) codes[i] = code;
      else codes[i >> 1]! |= i & 1 ? code : code << 4;
    }
  }
  // An odd number of 4-bit codes ends with the code of zero.
  if (bits === 4 && size & 1) codes[size >> 1]! |= order[rank(limits, 0)]!;
  return { codes, absmax, size, blockSize, map };
}

/** The largest |x| of each block. */
function absmaxOf(values: Float32Array, blockSize: number): Float32Array {
  if (!Number.isInteger(blockSize) || blockSize < 1)
    throw new AttuneError('QUANTIZATION_INVALID', `a block has ${blockSize} numbers.`, {
      remedy: 'Give a positive integer; 64 is the default of bitsandbytes for 4 bits.',
    });
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  values.forEach((x, i) => {
    const magnitude = Math.abs(x);
    if (!(magnitude < Number.POSITIVE_INFINITY))
      throw new AttuneError('QUANTIZATION_INVALID', `value ${i} is ${x}.`, {
        remedy: 'Only finite numbers can be quantised: check the checkpoint that they came from.',
      });
    const block = Math.floor(i / blockSize);
    if (magnitude > absmax[block]!) absmax[block] = magnitude;
  });
  return absmax;
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
  const { fround, floor } = Math;
  const map = int8Map();
  const absmax = absmaxOf(values, columns);
  const scales = absmax.map((largest) => (largest === 0 ? 0 : fround(1 / largest) * 127));
  const codes = Uint8Array.from(values, (x, i) =>
    roundHalfEven(fround(x * scales[floor(i / columns)]!)),
  );
  return { codes, absmax, size: values.length, blockSize: columns, map };
}

function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
