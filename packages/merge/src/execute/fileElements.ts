import { fromFloat16Bits } from '@attune/core/backend';
import { type SafetensorsDType, safetensorsBytes } from '@attune/core/io';
import { AttuneError } from '@attune/core/util';
import type { ElementReader } from '../arithmetic/chunkedGroup.js';
import type { StoredTensor } from '../contract/tensorTask.js';
import { type OpenFiles, readExactly } from './openFiles.js';

/** Dtypes that are read as float32. */
export const readAsFloats: readonly SafetensorsDType[] = ['F32', 'BF16', 'F16', 'F64'];

/** float32 bits of all float16 numbers: a look is faster than the arithmetic. */
function float16Table(): Uint32Array {
  const values = new Float32Array(2 ** 16);
  for (let bits = 0; bits < values.length; bits++) values[bits] = fromFloat16Bits(bits);
  return new Uint32Array(values.buffer);
}

/** Reads tensors of files as float32; keeps what it needs for that. */
export class FloatFiles {
  #float16: Uint32Array | null = null;
  /** For float64, which does not fit into the place of its float32. */
  #wide = new Float64Array(0);

  constructor(private readonly files: OpenFiles) {}

  /**
   * 16-bit floats are widened exactly; float64 is rounded, as core reads it.
   *
   * @throws MERGE_INPUT_DTYPE for what is no float of 16 bits or more
   */
  reader(tensor: StoredTensor): ElementReader {
    const { dtype, path, begin } = tensor;
    if (!readAsFloats.includes(dtype))
      throw new AttuneError(
        'MERGE_INPUT_DTYPE',
        `${path}: a tensor of ${dtype} cannot be merged; expected ${readAsFloats.join(', ')}.`,
        { remedy: 'Convert the checkpoint to bfloat16 or float32 first.' },
      );
    const size = safetensorsBytes[dtype];
    return { read: (start, into) => this.#read(dtype, path, begin + start * size, into) };
  }

  #read(dtype: SafetensorsDType, path: string, at: number, into: Float32Array): void {
    const { buffer, byteOffset, byteLength, length } = into;
    if (dtype === 'F32')
      readExactly(this.files, path, at, new Uint8Array(buffer, byteOffset, byteLength));
    else if (dtype === 'F64') {
      if (this.#wide.length < length) this.#wide = new Float64Array(length);
      const wide = this.#wide.subarray(0, length);
      readExactly(this.files, path, at, new Uint8Array(wide.buffer, 0, 8 * length));
      into.set(wide);
    } else {
      // The 16-bit floats lie in the second half of the memory, and are widened from the front:
      // number i is written below byte 4 i + 4, where only those up to i have been.
      const half = new Uint16Array(buffer, byteOffset + 2 * length, length);
      readExactly(
        this.files,
        path,
        at,
        new Uint8Array(buffer, byteOffset + 2 * length, 2 * length),
      );
      const bits = new Uint32Array(buffer, byteOffset, length);
      if (dtype === 'BF16') widenBfloat16(half, bits);
      else {
        this.#float16 ??= float16Table();
        const table = this.#float16;
        for (let i = 0; i < length; i++) bits[i] = table[half[i]!]!;
      }
    }
  }
}

/** Two at a time, where they lie so: a third faster. */
function widenBfloat16(half: Uint16Array, bits: Uint32Array): void {
  const { buffer, byteOffset, length } = half;
  if (byteOffset % 4 !== 0 || length % 2 === 1) {
    for (let i = 0; i < length; i++) bits[i] = half[i]! << 16;
    return;
  }
  const pairs = new Int32Array(buffer, byteOffset, length / 2);
  for (let i = 0; i < pairs.length; i++) {
    const pair = pairs[i]!;
    bits[2 * i] = pair << 16;
    bits[2 * i + 1] = pair & 0xffff0000;
  }
}
