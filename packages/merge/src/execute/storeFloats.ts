import type { SafetensorsDType } from '@attune/core/io';

/** Dtypes that results are written in. */
export type FloatDType = 'F32' | 'BF16' | 'F16';

export const isFloatDType = (dtype: SafetensorsDType): dtype is FloatDType =>
  Object.hasOwn(limits, dtype);

/**
 * float32 bits of the smallest magnitude that is infinite in a dtype: halfway above its largest
 * number. NaN is above all of them.
 */
const limits: Readonly<Record<FloatDType, number>> = {
  F32: 0x7f800000,
  BF16: 0x7f7f8000,
  F16: 0x477ff000,
};

/** The first number that `dtype` does not hold: NaN, infinite, or too large. -1: there is none. */
export function findUnstorable(values: Float32Array, dtype: FloatDType): number {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const limit = limits[dtype];
  if (carriesFrom(bits, limit) >= 0) return -1;
  return bits.findIndex((value) => (value & 0x7fffffff) >= limit);
}

/**
 * Negative: a magnitude is at a limit or above. Without a branch for each, and with nothing after
 * the loop: V8 compiles it while it runs, and of what follows it would know nothing.
 */
function carriesFrom(bits: Int32Array, limit: number): number {
  // Carries into the sign bit from the limit on.
  const add = (0x80000000 - limit) | 0;
  let carries = 0;
  for (let i = 0; i < bits.length; i++) carries |= ((bits[i]! & 0x7fffffff) + add) | 0;
  return carries;
}

/**
 * Rounds float32 numbers to how a file has them, to nearest even, in their own memory: the values
 * are lost. They are numbers that the dtype holds.
 *
 * @returns the bytes: a view of that memory
 */
export function storeFloats(values: Float32Array, dtype: FloatDType): Uint8Array {
  const { buffer, byteOffset, length } = values;
  if (dtype === 'F32') return new Uint8Array(buffer, byteOffset, 4 * length);
  // Number i is written at byte 2 i, where those before it have been.
  const half = new Uint16Array(buffer, byteOffset, length);
  const bits = new Int32Array(buffer, byteOffset, length);
  if (dtype === 'F16') narrowFloat16(bits, half, values);
  else {
    const last = narrowed(bits.at(-1) ?? 0);
    narrowPairs(bits, new Int32Array(buffer, byteOffset, length >> 1));
    if (length % 2 === 1) half[length - 1] = last;
  }
  return new Uint8Array(buffer, byteOffset, 2 * length);
}

/** The bfloat16 number nearest to a float32 number, by their bits. */
const narrowed = (bits: number): number => (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;

/** Two at a time to bfloat16: a third faster. */
function narrowPairs(bits: Int32Array, pairs: Int32Array): void {
  for (let i = 0; i < pairs.length; i++) {
    const b = bits[2 * i + 1]!;
    pairs[i] = narrowed(bits[2 * i]!) | ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000);
  }
}

function narrowFloat16(bits: Int32Array, half: Uint16Array, values: Float32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i]!;
    const sign = (value >>> 16) & 0x8000;
    const magnitude = value & 0x7fffffff;
    if (magnitude < 0x38800000)
      // Subnormal: beside 1/2 a float32 ends at 2^-24, where such a half does.
      half[i] = sign | ((Math.fround(Math.abs(values[i]!) + 0.5) - 0.5) * 2 ** 24);
    else {
      const rebased = magnitude - 0x38000000;
      half[i] = sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
    }
  }
}
