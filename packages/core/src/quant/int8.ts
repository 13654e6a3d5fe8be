import { type FloatSource, forBlocks } from './blocks.js';
import type { BlockwiseCodes } from './blockwise.js';
import { int8Map } from './codeMaps.js';

/**
 * int8 by rows, as the weights of LLM.int8() are held: round(x * ((1 / absmax of the row) * 127)),
 * halves to the even number, each step rounded to float32. The reciprocal comes first, as
 * bitsandbytes' portable backend computes 127 / absmax: it decides codes whose share lies at a
 * half. A row of zeros has the code 0. Dettmers et al. 2022, https://arxiv.org/abs/2208.07339
 *
 * @param columns length of a row
 * @throws QUANTIZATION_INVALID as `quantizeBlockwise`
 */
export function quantizeInt8(values: Float32Array | FloatSource, columns: number): BlockwiseCodes {
  const codes = new Uint8Array(values.length);
  const absmax = forBlocks(values, columns, (part, base, largest) => {
    writeRows(part, columns, base, largest, codes);
  });
  return { codes, absmax, size: values.length, blockSize: columns, map: int8Map() };
}

/** A sum with it has no fraction: rounding to nearest even, the processor's own, takes it off. */
const NO_FRACTION = 1.5 * 2 ** 52;

/** The code of `values[i]` goes to `codes[base + i]`. */
function writeRows(
  values: Float32Array,
  columns: number,
  base: number,
  absmax: Float32Array,
  codes: Uint8Array,
): void {
  const { fround } = Math;
  for (let row = base / columns, first = 0; first < values.length; row++, first += columns) {
    const largest = absmax[row]!;
    if (largest === 0) continue;
    const scale = fround(fround(1 / largest) * 127);
    const end = Math.min(values.length, first + columns);
    for (let i = first; i < end; i++)
      codes[base + i] = (fround(values[i]! * scale) + NO_FRACTION - NO_FRACTION) | 0;
  }
}
