import { bfloat16Bits, float16Bits, fromBfloat16Bits, fromFloat16Bits } from '@attune/core/backend';
import type { MergeArithmetic } from '../contract/mergeMethod.js';

const toBfloat16 = (value: number): number => fromBfloat16Bits(bfloat16Bits(value));
const toFloat16 = (value: number): number => fromFloat16Bits(float16Bits(value));

/**
 * A number as a dtype holds it. torch computes an operation on 16-bit floats in float32 and rounds
 * what comes out, so these round to float32 first.
 */
export const roundings: Readonly<Record<MergeArithmetic['dtype'], (value: number) => number>> = {
  float32: Math.fround,
  bfloat16: toBfloat16,
  float16: toFloat16,
};

/**
 * The same for an array, in place. In float32 there is nothing to do: what is stored in a
 * Float32Array was rounded.
 */
export const arrayRoundings: Readonly<
  Record<MergeArithmetic['dtype'], (values: Float32Array) => void>
> = {
  float32: () => {},
  bfloat16: (values) => {
    const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
    for (let i = 0; i < bits.length; i++) {
      const word = bits[i]!;
      // NaN stays: its fraction would carry into the exponent.
      if ((word & 0x7fffffff) <= 0x7f800000)
        bits[i] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
    }
  },
  float16: (values) => {
    for (let i = 0; i < values.length; i++) values[i] = toFloat16(values[i]!);
  },
};
