import { type FloatSource, forBlocks } from './blocks.js';
import { bitsOf, type CodeMap } from './codeMaps.js';
import { type NearestCodes, nearestCodes, TINY } from './nearestCodes.js';

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
  values: Float32Array | FloatSource,
  map: CodeMap,
  blockSize: number,
): BlockwiseCodes {
  return quantizeNearest(values, map, nearestCodes(map), blockSize);
}

/** As {@link quantizeBlockwise}, with what finds the codes of the map. */
export function quantizeNearest(
  values: Float32Array | FloatSource,
  map: CodeMap,
  nearest: NearestCodes,
  blockSize: number,
): BlockwiseCodes {
  const bits = bitsOf(map);
  const { fround } = Math;
  const size = values.length;
  const codes = new Uint8Array(Math.ceil((size * bits) / 8));
  const absmax = forBlocks(values, blockSize, (part, base, largest) => {
    const count = Math.floor(part.length / blockSize);
    nearest.writeBlocks({ values: part, blockSize, count, base, absmax: largest }, codes);
    const first = count * blockSize;
    if (first === part.length) return;
    const block = largest.length - 1;
    const scale = Math.max(largest[block]!, TINY);
    largest[block] = scale;
    for (let i = first; i < part.length; i++)
      nearest.writeOne(base + i, fround(part[i]! / scale), codes);
  });
  // An odd number of 4-bit codes ends with the code of zero.
  if (bits === 4 && size & 1) nearest.writeOne(size, 0, codes);
  return { codes, absmax, size, blockSize, map };
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
