import { largestMagnitudeOf, numBlocks, withBits } from './blocks.js';
import type { BlockwiseCodes } from './blockwise.js';
import { int8Map } from './codeMaps.js';

/**
 * int8 by rows, as the weights of LLM.int8() are held: round(x * ((1 / absmax of the row) * 127)),
 * halves to the even number, each step rounded to float32. The reciprocal comes first, as
 * bitsandbytes' portable backend computes 127 / absmax: it decides codes whose share lies at a
 * half. A row of zeros has the code 0. Dettmers et al. 2022, https://arxiv.org/abs/2208.07339
 *
 * @param columns length of a row
 * @param round what a row is to be before it is quantised: writes it into `rounded`. Default: as it
 *   is
 * @throws QUANTIZATION_INVALID as `quantizeBlockwise`
 */
export function quantizeInt8(
  values: Float32Array,
  columns: number,
  round?: (row: Float32Array, rounded: Float32Array) => void,
): BlockwiseCodes {
  const map = int8Map();
  const size = values.length;
  const absmax = new Float32Array(numBlocks(size, columns));
  const codes = new Uint8Array(size);
  const rounded = new Float32Array(round ? columns : 0);
  const largestMagnitude = largestMagnitudeOf(withBits(round ? rounded : values));
  for (let row = 0; row < absmax.length; row++) {
    const first = row * columns;
    const end = Math.min(size, first + columns);
    round?.(values.subarray(first, end), rounded);
    const [from, base] = round ? [rounded, first] : [values, 0];
    const largest = largestMagnitude(first - base, end - base, base);
    absmax[row] = largest;
    // A row of zeros has the codes of zero.
    if (largest === 0) continue;
    const scale = Math.fround(Math.fround(1 / largest) * 127);
    writeInt8(from, first - base, end - base, scale, codes, base);
  }
  return { codes, absmax, size, blockSize: columns, map };
}

/** A sum with it has no fraction: rounding to nearest even, the processor's own, takes it off. */
const NO_FRACTION = 1.5 * 2 ** 52;

/** The code of `values[i]` goes to `codes[base + i]`. */
function writeInt8(
  values: Float32Array,
  first: number,
  end: number,
  scale: number,
  codes: Uint8Array,
  base: number,
): void {
  for (let i = first; i < end; i++)
    codes[base + i] = (Math.fround(values[i]! * scale) + NO_FRACTION - NO_FRACTION) | 0;
}
