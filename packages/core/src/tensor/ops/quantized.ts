import type { ComputeDType, DType } from '../../backend/dtype.js';
import type { AttrValue } from '../../backend/opCall.js';
import type { Engine } from '../engine.js';
import { defineOp, type OpDef, type TensorSpec } from '../op.js';
import { numel, requireFit, type Shape, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { matmulOp } from './matmul.js';

/** How quantised numbers are held; see {@link dequantizeOp}. */
export interface QuantizedAttrs extends Record<string, AttrValue> {
  /** 4: two codes a byte, the first in the high half; 8: a code a byte. */
  readonly bits: 4 | 8;
  /** Numbers that share a scale. */
  readonly blockSize: number;
  /** Whether the scales are 8-bit codes themselves, 256 to a scale: double quantisation. */
  readonly nested: boolean;
  /** What is added to nested scales. */
  readonly offset: number;
}

export interface DequantizeAttrs extends QuantizedAttrs {
  readonly shape: Shape;
  readonly dtype: 'float32' | 'float16' | 'bfloat16';
}

export interface QuantizedMatmulAttrs extends QuantizedAttrs {
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** false: x W^T, the forward of a linear layer. true: x W, its gradient to the input. */
  readonly transposed: boolean;
  readonly scale: number;
  /** The output is updated: out += scale * product. For `runInto` alone. */
  readonly accumulate: boolean;
  readonly compute: ComputeDType;
}

/** Scales that share a scale. */
export const NESTED_BLOCK = 256;

/** How many operands hold the quantised numbers. */
export const partCount = ({ nested }: Pick<QuantizedAttrs, 'nested'>): 3 | 5 => (nested ? 5 : 3);

/**
 * Codes, scales and map of `size` numbers, or why they are not that.
 *
 * codes: uint32 words whose bytes (little-endian) are those of bitsandbytes; absmax: float32, one a
 * block, or uint32 words of 8-bit codes; map: float32 [16] or [256]; if nested, float32 scales of
 * the scales and their map [256].
 */
function holds(parts: readonly TensorSpec[], size: number, attrs: QuantizedAttrs): boolean {
  const { bits, blockSize, nested } = attrs;
  const blocks = Math.ceil(size / blockSize);
  const is = (part: TensorSpec | undefined, dtype: DType, length: number) =>
    part !== undefined && part.dtype === dtype && sameShape(part.shape, [length]);
  const [codes, absmax, map, nestedAbsmax, nestedMap] = parts;
  return (
    is(codes, 'uint32', Math.ceil((size * bits) / 32)) &&
    is(map, 'float32', 2 ** bits) &&
    (nested
      ? is(absmax, 'uint32', Math.ceil(blocks / 4)) &&
        is(nestedAbsmax, 'float32', Math.ceil(blocks / NESTED_BLOCK)) &&
        is(nestedMap, 'float32', 256)
      : is(absmax, 'float32', blocks))
  );
}

const partsText =
  'codes (uint32, 32 bits of codes a word), absmax (one a block; nested: 8-bit codes in uint32), map [16 or 256], and, if nested, a scale for each 256 scales and a map [256]';

/**
 * Numbers from codes: map[code] * absmax[i / blockSize] for the i-th in row-major order. With
 * nested scales, absmax[b] = nestedMap[absmaxCode[b]] * nestedAbsmax[b / 256] + offset.
 *
 * The formats differ in their map alone: NF4 and FP4 are 4 bits in blocks of 64, int8 by rows is 8
 * bits in blocks of a row. Dettmers et al. 2023, https://arxiv.org/abs/2305.14314
 */
export const dequantizeOp = defineOp<DequantizeAttrs>({
  name: 'dequantize',
  infer: (inputs, attrs) => {
    const { shape, dtype } = attrs;
    const fits = inputs.length === partCount(attrs) && holds(inputs, numel(shape), attrs);
    requireFit(fits, `dequantize to [${shape}]`, inputs, `Give ${partsText}`);
    return [{ shape, dtype }];
  },
  reference: ({ inputs: [codes, absmax, map, nestedAbsmax, nestedMap], outputs: [out], attrs }) => {
    const { bits, blockSize, nested, offset, shape } = attrs;
    const scale = (block: number) =>
      nested
        ? nestedMap!.data[byte(absmax!.data, block)]! *
            nestedAbsmax!.data[Math.floor(block / NESTED_BLOCK)]! +
          offset
        : absmax!.data[block]!;
    for (let i = 0; i < numel(shape); i++) {
      const packed = byte(codes!.data, bits === 8 ? i : i >> 1);
      const code = bits === 8 ? packed : (packed >> (i & 1 ? 0 : 4)) & 15;
      out!.data[i] = map!.data[code]! * scale(Math.floor(i / blockSize));
    }
  },
  saves: {},
});

const byte = (words: ArrayLike<number>, i: number): number =>
  (words[i >> 2]! >>> ((i & 3) * 8)) & 255;

/**
 * scale * x W^T (+ addend), W [out, in] quantised; or scale * x W, which is its own gradient.
 *
 * Inputs: x, the parts of W as for {@link dequantizeOp}, optionally an addend of the product's
 * shape or a bias. W is dequantised on the way into the product and never held; it takes no
 * gradient.
 */
export const quantizedMatmulOp: OpDef<QuantizedMatmulAttrs> = defineOp({
  name: 'quantizedMatmul',
  infer: (inputs, attrs) => {
    const { outFeatures, inFeatures, transposed } = attrs;
    const [x, ...rest] = inputs as [TensorSpec, ...TensorSpec[]];
    const [k, n] = transposed ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
    const count = partCount(attrs);
    const shape = [...x.shape.slice(0, -1), n];
    const addend = rest[count];
    const fits =
      x.shape.length >= 2 &&
      x.shape.at(-1) === k &&
      holds(rest.slice(0, count), outFeatures * inFeatures, attrs) &&
      (!addend || sameShape(addend.shape, shape) || sameShape(addend.shape, [n]));
    requireFit(
      fits,
      `quantizedMatmul with W [${outFeatures}, ${inFeatures}]`,
      inputs,
      `Give x [..., ${k}], ${partsText}; an addend has the shape of the product; a bias, [${n}]`,
    );
    return [{ shape, dtype: 'float32' }];
  },
  flops: ([x], { outFeatures, inFeatures }) =>
    2 * numel(x!.shape.slice(0, -1)) * outFeatures * inFeatures,
  decompose: (inputs, attrs, engine) => {
    const { transposed, scale, compute } = attrs;
    const weight = dequantized(inputs.slice(1), attrs, engine);
    const x = inputs[0]!;
    const addend = inputs.slice(1 + partCount(attrs));
    const product = {
      transposeA: false,
      transposeB: !transposed,
      scale,
      accumulate: false,
      compute,
    };
    return engine.run(matmulOp, [x, weight, ...addend], product);
  },
  vjp: ({ engine, inputs, grads: [g], attrs, needs, into }) => {
    const count = partCount(attrs);
    const parts = inputs.slice(1, 1 + count);
    const addend = inputs[1 + count];
    const dX = () => {
      const operands = [g!, ...parts];
      const back = { ...attrs, transposed: !attrs.transposed };
      const place = into[0];
      if (place) {
        const update = { ...back, accumulate: place.accumulate };
        const call = { op: quantizedMatmulOp.name, inputs: operands, outputs: [place.tensor] };
        // A backend that decomposes the product has no update in place.
        if (engine.backend.supports({ ...call, attrs: update })) {
          engine.runInto(quantizedMatmulOp, operands, [place.tensor], update);
          return place.tensor;
        }
      }
      return engine.run(quantizedMatmulOp, operands, back)[0]!;
    };
    const dAddend = () =>
      sameShape(addend!.shape, g!.shape) ? g! : g!.sum(g!.shape.slice(0, -1).map((_, i) => i));
    return [
      needs[0] ? dX() : null,
      ...parts.map(() => null),
      ...(addend ? [needs[1 + count] ? dAddend() : null] : []),
    ];
  },
  saves: { inputs: [1, 2, 3, 4, 5] },
});

function dequantized(
  parts: readonly Tensor[],
  attrs: QuantizedMatmulAttrs,
  engine: Engine,
): Tensor {
  const { bits, blockSize, nested, offset, outFeatures, inFeatures } = attrs;
  const shape = [outFeatures, inFeatures];
  const held = { bits, blockSize, nested, offset, shape, dtype: 'float32' as const };
  return engine.run(dequantizeOp, parts.slice(0, partCount(attrs)), held)[0]!;
}
