import {
  type BlockwiseCodes,
  doubleQuantize,
  fp4Map,
  int8Map,
  nf4Map,
  quantizeBlockwise,
} from '../../quant/index.js';
import { dequantizeOp, quantizedMatmulOp } from '../../tensor/ops/index.js';
import { numel, type Shape } from '../../tensor/shape.js';
import { Rng } from '../../util/rng.js';
import {
  type CaseOperand,
  f32,
  type OpCase,
  opCase,
  operand,
  sumOf,
  ulps,
  values,
} from '../opCase.js';

const words = (bytes: Uint8Array): Uint32Array => {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
};
const given = (dtype: 'float32' | 'uint32', data: ArrayLike<number>): CaseOperand =>
  operand(dtype, [data.length], values(...Array.from(data)));

interface Held {
  readonly name: string;
  readonly attrs: { bits: 4 | 8; blockSize: number; nested: boolean; offset: number };
  readonly parts: readonly CaseOperand[];
}

/** Normal numbers of a shape, quantised. */
function held(kind: 'nf4' | 'fp4' | 'int8', shape: Shape, blockSize: number, nested = false): Held {
  const rng = new Rng(numel(shape), blockSize);
  const numbers = Float32Array.from({ length: numel(shape) }, () => rng.normal());
  const map = { nf4: nf4Map, fp4: fp4Map, int8: int8Map }[kind]();
  const q: BlockwiseCodes = quantizeBlockwise(numbers, map, blockSize);
  const bits = kind === 'int8' ? 8 : 4;
  const name = `${kind}-${shape.join('x')}-blocks-of-${blockSize}${nested ? '-nested' : ''}`;
  const codes = given('uint32', words(q.codes));
  if (!nested)
    return {
      name,
      attrs: { bits, blockSize, nested, offset: 0 },
      parts: [codes, given('float32', q.absmax), given('float32', map)],
    };
  const scales = doubleQuantize(q.absmax);
  return {
    name,
    attrs: { bits, blockSize, nested, offset: scales.offset },
    parts: [
      codes,
      given('uint32', words(scales.codes.codes)),
      given('float32', map),
      given('float32', scales.codes.absmax),
      given('float32', scales.codes.map),
    ],
  };
}

/** Whole words and blocks; odd ends; one number; blocks of a row; more than 256 blocks. */
const dequantizeCases: readonly OpCase[] = (
  [
    [held('nf4', [1], 64), [1]],
    [held('nf4', [4, 64], 64), [4, 64]],
    [held('nf4', [65], 64), [65]],
    [held('nf4', [13, 11], 32), [13, 11]],
    [held('fp4', [2, 100], 64), [2, 100]],
    [held('nf4', [64, 300], 64, true), [64, 300]],
    [held('nf4', [3, 67], 64, true), [3, 67]],
    [held('int8', [5, 33], 33), [5, 33]],
    [held('int8', [8, 64], 64), [8, 64]],
    [held('nf4', [0], 64), [0]],
  ] as const
).flatMap(([{ name, attrs, parts }, shape]) =>
  (['float32', 'float16', 'bfloat16'] as const).map((dtype) =>
    opCase(
      dequantizeOp,
      dtype === 'float32' ? name : `${name}-${dtype}`,
      parts,
      { ...attrs, shape, dtype },
      // 16-bit results may round to the other neighbour where float32 and float64 differ.
      {
        float32: ulps(4),
        float16: { abs: 1e-7, rel: 2 ** -10 },
        bfloat16: { abs: 1e-37, rel: 2 ** -7 },
      }[dtype],
    ),
  ),
);

interface Variant {
  readonly batch?: readonly number[];
  readonly scale?: number;
  readonly plus?: 'addend' | 'bias';
  readonly compute?: 'float16' | 'bfloat16';
}

function productCases(
  rows: number,
  [outFeatures, inFeatures]: readonly [number, number],
  weight: Held,
  { batch = [], scale = 1, plus, compute }: Variant = {},
): OpCase[] {
  return [false, true].map((transposed) => {
    const [k, n] = transposed ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
    const addend = plus ? [f32(plus === 'bias' ? [n] : [...batch, rows, n])] : [];
    return opCase(
      quantizedMatmulOp,
      [
        `${[...batch, rows].join('x')}-by-${weight.name}`,
        ...(transposed ? ['transposed'] : []),
        ...(scale === 1 ? [] : [`scale${scale}`]),
        ...(plus ? [`plus-${plus}`] : []),
        ...(compute ? [`in-${compute}`] : []),
      ].join('-'),
      [f32([...batch, rows, k]), ...weight.parts, ...addend],
      {
        ...weight.attrs,
        outFeatures,
        inFeatures,
        transposed,
        scale,
        accumulate: false,
        compute: compute ?? 'float32',
      },
      // Rounded operands: a number at the middle may round to its other neighbour.
      compute ? { abs: compute === 'float16' ? 4e-3 : 0.03, rel: 1e-5 } : sumOf(k),
    );
  });
}

export const quantizedCases: readonly OpCase[] = [
  ...dequantizeCases,
  ...productCases(33, [64, 128], held('nf4', [64, 128], 64)),
  ...productCases(7, [33, 67], held('nf4', [33, 67], 64)),
  ...productCases(17, [172, 32], held('fp4', [172, 32], 32), { scale: 0.5, plus: 'bias' }),
  ...productCases(5, [64, 300], held('nf4', [64, 300], 64, true), { batch: [3], plus: 'addend' }),
  ...productCases(33, [64, 36], held('int8', [64, 36], 36)),
  ...productCases(9, [10, 35], held('int8', [10, 35], 35), { plus: 'bias' }),
  ...productCases(40, [64, 64], held('nf4', [64, 64], 64), { compute: 'float16' }),
  ...productCases(0, [8, 8], held('int8', [8, 8], 8)),
];
