import { AttuneError } from '../util/errors.js';

/**
 * How numbers are stored. Arithmetic is float32 everywhere: float16 and bfloat16 are storage
 * formats that kernels widen when they load (frozen weights at half the memory), int32/uint32 hold
 * ids and positions.
 */
export type DType = 'float32' | 'float16' | 'bfloat16' | 'int32' | 'uint32';

/**
 * What the operands of a product are rounded to before they are multiplied; sums are float32
 * always.
 */
export type ComputeDType = 'float32' | 'float16' | 'bfloat16';

/** Bytes of one number in each storage. */
export const bytesPerElement: Readonly<Record<DType, 2 | 4>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  uint32: 4,
};

/** Whether a storage holds fractions. */
export const isFloat = (dtype: DType): boolean => dtype !== 'int32' && dtype !== 'uint32';

/** Host arrays as they lie in a buffer: 16-bit floats travel as their bits. */
export type HostArray = Float32Array | Uint16Array | Int32Array | Uint32Array;

const scratch = new ArrayBuffer(4);
const asFloat = new Float32Array(scratch);
const asBits = new Uint32Array(scratch);

/** float32 -> bfloat16 bits, round to nearest even; NaN stays NaN. */
export function bfloat16Bits(value: number): number {
  asFloat[0] = value;
  return narrowedToBfloat16(asBits[0]!);
}

/** @param bits of a float32 */
function narrowedToBfloat16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number of bfloat16 bits, exactly. */
export function fromBfloat16Bits(bits: number): number {
  asBits[0] = bits << 16;
  return asFloat[0]!;
}

/**
 * float32 -> IEEE binary16 bits, round to nearest even; above 65504 becomes infinity as in IEEE.
 */
export function float16Bits(value: number): number {
  asFloat[0] = value;
  return narrowedToFloat16(asBits[0]!, asFloat[0]!);
}

/** @param bits of the float32 `value` */
function narrowedToFloat16(bits: number, value: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // Subnormal half: beside 1/2, a float32 ends at 2^-24, where such a half does.
  if (magnitude < 0x38800000) return sign | ((Math.fround(Math.abs(value) + 0.5) - 0.5) * 2 ** 24);
  const rebased = magnitude - 0x38000000;
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

/** The number of IEEE binary16 bits, exactly. */
export function fromFloat16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** value as `dtype` holds it. float32 leaves it alone, for the reference's float64. */
export function roundTo(value: number, dtype: ComputeDType): number {
  if (dtype === 'float16') return fromFloat16Bits(float16Bits(value));
  return dtype === 'bfloat16' ? fromBfloat16Bits(bfloat16Bits(value)) : value;
}

/** Numbers -> the host array that a buffer of `dtype` holds. */
export function encode(values: ArrayLike<number>, dtype: DType): HostArray {
  switch (dtype) {
    case 'float32':
      return asFloats(values);
    case 'int32':
      return values instanceof Int32Array ? values : Int32Array.from(values);
    case 'uint32':
      return values instanceof Uint32Array ? values : Uint32Array.from(values);
    case 'float16':
      return narrowFloat16(asFloats(values));
    case 'bfloat16':
      return narrowBfloat16(asFloats(values));
  }
}

const asFloats = (values: ArrayLike<number>): Float32Array =>
  values instanceof Float32Array ? values : Float32Array.from(values);

// Loops, not TypedArray.from with a function: that walks an iterator, forty times as slow.

function narrowFloat16(values: Float32Array): Uint16Array {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = narrowedToFloat16(bits[i]!, values[i]!);
  return out;
}

function narrowBfloat16(values: Float32Array): Uint16Array {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = narrowedToBfloat16(bits[i]!);
  return out;
}

/**
 * The numbers of 16-bit floats, exactly.
 *
 * @param into memory for them, 4 bytes each. Default: new memory
 */
export function widen(
  bits: Uint16Array,
  dtype: 'float16' | 'bfloat16',
  into = new ArrayBuffer(4 * bits.length),
): Float32Array {
  const floats = new Float32Array(into, 0, bits.length);
  const words = new Uint32Array(into, 0, bits.length);
  if (dtype === 'float16') widenFloat16(bits, words, floats);
  else widenBfloat16(bits, words);
  return floats;
}

function widenBfloat16(bits: Uint16Array, words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = bits[i]! << 16;
}

/**
 * Exponent and fraction move into float32's places; a product corrects the bias, subnormals
 * included.
 */
function widenFloat16(bits: Uint16Array, words: Uint32Array, floats: Float32Array): void {
  for (let i = 0; i < words.length; i++) {
    const half = bits[i]!;
    words[i] = (half & 0x7fff) << 13;
    if ((half & 0x7c00) === 0x7c00) words[i] = words[i]! | 0x7f800000;
    else floats[i] = floats[i]! * 2 ** 112;
    words[i] = words[i]! | ((half & 0x8000) << 16);
  }
}

/** The bytes of a buffer -> numbers (`Float32Array` for the float types). */
export function decode(
  bytes: ArrayBuffer,
  dtype: DType,
  elements: number,
): Float32Array | Int32Array | Uint32Array {
  switch (dtype) {
    case 'float32':
      return new Float32Array(bytes, 0, elements);
    case 'int32':
      return new Int32Array(bytes, 0, elements);
    case 'uint32':
      return new Uint32Array(bytes, 0, elements);
    case 'float16':
    case 'bfloat16':
      return widen(new Uint16Array(bytes, 0, elements), dtype);
  }
}

const aliases: Readonly<Record<string, DType>> = {
  float32: 'float32',
  f32: 'float32',
  F32: 'float32',
  float16: 'float16',
  f16: 'float16',
  F16: 'float16',
  bfloat16: 'bfloat16',
  bf16: 'bfloat16',
  BF16: 'bfloat16',
  I32: 'int32',
  int32: 'int32',
  U32: 'uint32',
  uint32: 'uint32',
};

/** Reads `float16`, `f16`, safetensors' `F16` and torch's `torch.float16` alike. */
export function parseDType(name: string): DType {
  const alias = name.replace(/^torch\./, '');
  const dtype = Object.hasOwn(aliases, alias) ? aliases[alias] : undefined;
  if (!dtype)
    throw new AttuneError('DTYPE_UNKNOWN', `dtype "${name}" is not one that Attune stores.`, {
      remedy: `Use one of: ${Object.keys(bytesPerElement).join(', ')}.`,
    });
  return dtype;
}
