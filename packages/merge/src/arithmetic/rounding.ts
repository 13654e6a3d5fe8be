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
