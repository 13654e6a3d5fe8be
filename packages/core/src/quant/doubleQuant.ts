import { type BlockwiseCodes, dequantizeBlockwise, quantizeBlockwise } from './blockwise.js';
import { dynamicMap } from './codeMaps.js';

/** Scales as 8-bit codes: what is left after their mean is taken off, 256 to a scale of its own. */
export interface NestedScales {
  readonly codes: BlockwiseCodes;
  /** The mean that was taken off. */
  readonly offset: number;
}

/** Scales that share a scale, as in bitsandbytes. */
const NESTED_BLOCK = 256;

/**
 * Double quantisation of the scales of a 4-bit tensor: 0.5 bits a number become 0.127.
 * bitsandbytes' `compress_statistics`; QLoRA, section 3, https://arxiv.org/abs/2305.14314
 *
 * The codes are the nearest ones, as bitsandbytes computes them on a GPU; its CPU library looks
 * them up in a table of 65,536 cells and misses the nearest by one for about 0.15 % of the scales.
 */
export function doubleQuantize(absmax: Float32Array): NestedScales {
  let sum = 0;
  for (let i = 0; i < absmax.length; i++) sum += absmax[i]!;
  const offset = Math.fround(sum / Math.max(1, absmax.length));
  const rest = new Float32Array(absmax.length);
  for (let i = 0; i < rest.length; i++) rest[i] = absmax[i]! - offset;
  return { codes: quantizeBlockwise(rest, dynamicMap(), NESTED_BLOCK), offset };
}

/** The scales back: each code's number plus the offset, in float32. */
export const undoDoubleQuantize = ({ codes, offset }: NestedScales): Float32Array =>
  dequantizeBlockwise(codes).map((x) => x + offset);
