import { AttuneError } from '../util/errors.js';

/** Numbers that are looked at part by part: as float32, whatever they are stored in. */
export interface FloatSource {
  readonly length: number;
  /** The numbers `first` ... `end - 1`. What it gives is good until the next call. */
  read(first: number, end: number): Float32Array;
}

/** Numbers that are in the cache together: those of a part. */
const PART = 2 ** 14;

/**
 * Calls `visit` with some blocks at a time, once the largest |x| of each is in its place.
 *
 * @param blockSize numbers of a block; the last block may be short
 * @param visit gets the numbers of a part, and the place of the first one among all
 * @returns the largest |x| of each block
 * @throws QUANTIZATION_INVALID a block size that is no positive integer; a number that is not
 *   finite
 */
export function forBlocks(
  values: Float32Array | FloatSource,
  blockSize: number,
  visit: (part: Float32Array, base: number, absmax: Float32Array) => void,
): Float32Array {
  if (!Number.isInteger(blockSize) || blockSize < 1)
    throw new AttuneError('QUANTIZATION_INVALID', `a block has ${blockSize} numbers.`, {
      remedy: 'Give a positive integer; 64 is the default of bitsandbytes for 4 bits.',
    });
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  const absmaxBits = new Int32Array(absmax.buffer);
  const blocks = Math.max(1, Math.floor(PART / blockSize));
  for (let block = 0; block < absmax.length; block += blocks) {
    const base = block * blockSize;
    const end = Math.min(values.length, base + blocks * blockSize);
    const part =
      values instanceof Float32Array ? values.subarray(base, end) : values.read(base, end);
    writeAbsmax(part, blockSize, absmaxBits, block, base);
    visit(part, base, absmax);
  }
  return absmax;
}

const INFINITY_BITS = 0x7f800000;

/** Bits of |x| are in the order of |x|, infinity above all numbers and NaN above that. */
function writeAbsmax(
  part: Float32Array,
  blockSize: number,
  absmaxBits: Int32Array,
  block: number,
  base: number,
): void {
  const bits = new Int32Array(part.buffer, part.byteOffset, part.length);
  for (let first = 0; first < bits.length; first += blockSize) {
    const end = Math.min(bits.length, first + blockSize);
    // Without a branch: which number is the largest cannot be foretold.
    let largest = 0;
    for (let i = first; i < end; i++) {
      const less = largest - (bits[i]! & 0x7fffffff);
      largest -= less & (less >> 31);
    }
    if (largest >= INFINITY_BITS) throw notFinite(part, base);
    absmaxBits[block++] = largest;
  }
}

function notFinite(values: Float32Array, base: number): AttuneError {
  const at = values.findIndex((x) => !Number.isFinite(x));
  return new AttuneError('QUANTIZATION_INVALID', `value ${base + at} is ${values[at]}.`, {
    remedy: 'Only finite numbers can be quantised: check the checkpoint that they came from.',
  });
}
