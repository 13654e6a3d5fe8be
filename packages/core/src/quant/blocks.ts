import { AttuneError } from '../util/errors.js';

/** Blocks that hold so many numbers, a short last one too. @throws QUANTIZATION_INVALID */
export function numBlocks(size: number, blockSize: number): number {
  if (Number.isInteger(blockSize) && blockSize > 0) return Math.ceil(size / blockSize);
  throw new AttuneError('QUANTIZATION_INVALID', `a block has ${blockSize} numbers.`, {
    remedy: 'Give a positive integer; 64 is the default of bitsandbytes for 4 bits.',
  });
}

const INFINITY_BITS = 0x7f800000;

/** Numbers and their bits, in the same memory. */
export interface FloatsAndBits {
  readonly floats: Float32Array;
  readonly bits: Int32Array;
}

export const withBits = (floats: Float32Array): FloatsAndBits => ({
  floats,
  bits: new Int32Array(floats.buffer, floats.byteOffset, floats.length),
});

const scratch = () => withBits(new Float32Array(1));

/**
 * What tells the largest |x| of a part of some numbers.
 *
 * The bits of |x| are in the order of |x|, infinity above all numbers and NaN above that. There is
 * no branch in the loop: which number is the largest cannot be foretold.
 *
 * @returns a function that throws QUANTIZATION_INVALID for a number that is not finite
 */
export function largestMagnitudeOf({ floats, bits }: FloatsAndBits) {
  const largest = scratch();
  return (first: number, end: number, offset = 0): number => {
    largest.bits[0] = largestBits(bits, first, end);
    if (largest.bits[0]! >= INFINITY_BITS) throw notFinite(floats, offset);
    return largest.floats[0]!;
  };
}

function largestBits(bits: Int32Array, first: number, end: number): number {
  let largest = 0;
  for (let i = first; i < end; i++) {
    const less = largest - (bits[i]! & 0x7fffffff);
    largest -= less & (less >> 31);
  }
  return largest;
}

function notFinite(values: Float32Array, offset: number): AttuneError {
  const at = values.findIndex((x) => !Number.isFinite(x));
  return new AttuneError('QUANTIZATION_INVALID', `value ${offset + at} is ${values[at]}.`, {
    remedy: 'Only finite numbers can be quantised: check the checkpoint that they came from.',
  });
}
