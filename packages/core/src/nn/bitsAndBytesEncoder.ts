import { roundTo, widen } from '../backend/dtype.js';
import { type Bfloat16Blocks, bfloat16Blocks } from '../quant/bfloat16Blocks.js';
import { quantizeNearest } from '../quant/blockwise.js';
import {
  type BlockwiseCodes,
  type CodeMap,
  doubleQuantize,
  type FloatSource,
  fp4Map,
  int8Map,
  nf4Map,
  quantizeInt8,
} from '../quant/index.js';
import { nearestCodes } from '../quant/nearestCodes.js';
import type { BitsAndBytesFormat, BitsAndBytesWeight } from './bitsAndBytesLinear.js';

type QuantType = BitsAndBytesFormat['quantType'];

export const codeMaps: Readonly<Record<QuantType, () => CodeMap>> = {
  nf4: nf4Map,
  fp4: fp4Map,
  int8: int8Map,
};

/** Absmax between which a code depends on the ratio alone, as `BlockRule` says. */
const ranges: Readonly<Record<QuantType, readonly [lowest: number, highest: number]>> = {
  nf4: [2 ** -110, 2 ** 120],
  fp4: [2 ** -110, 2 ** 120],
  // Below 2^-17, rounding to float16 changes a bfloat16: its code is 0 here, before and after.
  int8: [2 ** -8, 65_504],
};

/**
 * Weights -> codes and scales, as bitsandbytes quantises: float32 arithmetic; for int8 the numbers
 * are rounded to float16 first. Weights in bfloat16 have the same codes, by tables that all layers
 * share (64 KiB for each of at most 128, made when first asked for).
 */
export class BitsAndBytesEncoder {
  readonly #quantize: (values: Float32Array | FloatSource, blockSize: number) => BlockwiseCodes;
  readonly #bfloat16: Bfloat16Blocks;

  constructor(quantType: QuantType) {
    const map = codeMaps[quantType]();
    if (quantType === 'int8')
      this.#quantize = (values, columns) => quantizeInt8(asFloat16(values), columns);
    else {
      const nearest = nearestCodes(map);
      this.#quantize = (values, blockSize) => quantizeNearest(values, map, nearest, blockSize);
    }
    const [lowest, highest] = ranges[quantType];
    const encode = (block: Float32Array) => this.#quantize(block, block.length);
    this.#bfloat16 = bfloat16Blocks({ map, lowest, highest, encode });
  }

  encode(
    values: Float32Array | FloatSource,
    { blockSize, nested }: Pick<BitsAndBytesFormat, 'blockSize' | 'nested'>,
  ): BitsAndBytesWeight {
    return withScales(this.#quantize(values, blockSize), nested);
  }

  /** As `encode`, of 16-bit floats as they lie in a file. */
  encodeStored(
    rows: Uint16Array,
    dtype: 'float16' | 'bfloat16',
    format: Pick<BitsAndBytesFormat, 'blockSize' | 'nested'>,
  ): BitsAndBytesWeight {
    const blocks = dtype === 'bfloat16' ? this.#bfloat16(rows, format.blockSize) : null;
    if (blocks) return withScales(blocks, format.nested);
    return this.encode(widening(rows, dtype), format);
  }
}

function withScales(blocks: BlockwiseCodes, nested: boolean): BitsAndBytesWeight {
  if (!nested) return blocks;
  const { codes, offset } = doubleQuantize(blocks.absmax);
  return { codes: blocks.codes, absmax: codes.codes, nestedAbsmax: codes.absmax, offset };
}

/** Numbers as they lie in a file. */
function widening(bits: Uint16Array, dtype: 'float16' | 'bfloat16'): FloatSource {
  let room = new ArrayBuffer(0);
  return {
    length: bits.length,
    read(first, end) {
      if (room.byteLength < 4 * (end - first)) room = new ArrayBuffer(4 * (end - first));
      return widen(bits.subarray(first, end), dtype, room);
    },
  };
}

/** Each number as float16 holds it. */
function asFloat16(values: Float32Array | FloatSource): FloatSource {
  let room = new Float32Array(0);
  return {
    length: values.length,
    read(first, end) {
      const part =
        values instanceof Float32Array ? values.subarray(first, end) : values.read(first, end);
      if (room.length < part.length) room = new Float32Array(part.length);
      roundToFloat16(part, room);
      return room.subarray(0, part.length);
    },
  };
}

function roundToFloat16(values: Float32Array, rounded: Float32Array): void {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const words = new Int32Array(rounded.buffer, rounded.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff;
    // Where both have a leading one, all but ten bits of the fraction go.
    if (magnitude >= 0x38800000 && magnitude < 0x477ff000)
      words[i] = (bits[i]! + 0xfff + ((bits[i]! >>> 13) & 1)) & ~0x1fff;
    else rounded[i] = roundTo(values[i]!, 'float16');
  }
}
