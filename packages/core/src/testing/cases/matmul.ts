import type { ComputeDType, DType } from '../../backend/dtype.js';
import { linearsOp, matmulOp } from '../../tensor/ops/index.js';
import { f32, type OpCase, opCase, operand, scaled, sumOf } from '../opCase.js';

interface Layout {
  readonly name: string;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

const layouts: readonly Layout[] = [
  { name: 'nn', transposeA: false, transposeB: false },
  { name: 'nt', transposeA: false, transposeB: true },
  { name: 'tn', transposeA: true, transposeB: false },
  { name: 'tt', transposeA: true, transposeB: true },
];

type Sizes = readonly [m: number, k: number, n: number];

/**
 * Each of 1, 3, 8, 32, 33, 64, 172 in each place; tiles that fit, that overhang, that are one line.
 */
const sizes: readonly Sizes[] = [
  [1, 1, 1],
  [1, 64, 33],
  [3, 8, 1],
  [8, 3, 32],
  [32, 32, 32],
  [33, 172, 3],
  [64, 64, 64],
  [64, 33, 172],
  [172, 32, 8],
  [1, 172, 64],
  [33, 1, 33],
  [65, 65, 65],
  [128, 64, 128],
];

interface Variant {
  readonly batch?: readonly number[];
  readonly batchOther?: readonly number[];
  readonly dtype?: DType;
  readonly dtypeA?: DType;
  readonly scale?: number;
  /** What is added: a third operand of the product's shape, a bias, what the output held. */
  readonly plus?: 'addend' | 'bias' | 'output';
  readonly addendDtype?: DType;
  readonly compute?: ComputeDType;
}

function matmulCase(
  [m, k, n]: Sizes,
  { name, transposeA, transposeB }: Layout,
  {
    batch = [],
    batchOther = batch,
    dtype = 'float32',
    dtypeA = 'float32',
    scale = 1,
    plus,
    addendDtype = 'float32',
    compute = 'float32',
  }: Variant = {},
): OpCase {
  const a = [...batch, ...(transposeA ? [k, m] : [m, k])];
  const b = [...batchOther, ...(transposeB ? [n, k] : [k, n])];
  const label = [
    name,
    `${batch.map((d) => `${d}x`).join('')}${m}x${k}x${n}`,
    ...(batchOther === batch ? [] : [`batch${batchOther.join('x') || 'none'}`]),
    ...(dtypeA === 'float32' ? [] : [`a-${dtypeA}`]),
    ...(dtype === 'float32' ? [] : [dtype]),
    ...(scale === 1 ? [] : [`scale${scale}`]),
    ...(plus ? [`plus-${plus}`] : []),
    ...(addendDtype === 'float32' ? [] : [addendDtype]),
    ...(compute === 'float32' ? [] : [`in-${compute}`]),
  ].join('-');
  const out = [...batch, m, n];
  const addend =
    plus === 'addend' || plus === 'bias' ? [operand(addendDtype, plus === 'bias' ? [n] : out)] : [];
  return opCase(
    matmulOp,
    label,
    [operand(dtypeA, a), operand(dtype, b), ...addend],
    { transposeA, transposeB, scale, accumulate: plus === 'output', compute },
    scaled(sumOf(k), Math.max(1, Math.abs(scale))),
    plus === 'output' ? { targets: [f32(out)] } : {},
  );
}

const narrow = ['float16', 'bfloat16'] as const;

const [nn, nt, tn, tt] = layouts as [Layout, Layout, Layout, Layout];

/** What is added while storing, in the shapes of training: a narrow output is a LoRA's rank. */
const epilogues: readonly OpCase[] = [
  matmulCase([33, 64, 172], nt, { plus: 'addend', scale: 2 }),
  matmulCase([33, 64, 172], nt, { plus: 'bias' }),
  matmulCase([64, 32, 8], nt, { plus: 'addend' }),
  matmulCase([64, 32, 8], nt, { plus: 'bias', addendDtype: 'bfloat16' }),
  matmulCase([65, 33, 7], nt, { plus: 'bias', scale: -0.5 }),
  matmulCase([33, 64, 172], nn, { plus: 'output' }),
  matmulCase([64, 33, 172], tn, { plus: 'output', scale: 0.25 }),
  matmulCase([65, 33, 7], tn, { plus: 'output' }),
  // Mixed precision.
  ...narrow.flatMap((compute) => [
    matmulCase([33, 64, 172], nt, { compute, plus: 'bias' }),
    matmulCase([33, 64, 36], nn, { compute, dtype: compute }),
    matmulCase([7, 33, 65], tn, { compute, scale: 2 }),
    matmulCase([5, 17, 70], tt, { compute, batch: [2], plus: 'addend' }),
  ]),
  // Few rows, as when tokens are generated; few columns are the same, transposed.
  ...[1, 2, 4, 5, 8].flatMap((m) => [
    matmulCase([m, 172, 68], nt, { plus: 'addend', scale: 2 }),
    matmulCase([m, 140, 33], nt, { dtype: 'bfloat16', plus: 'bias' }),
    matmulCase([m, 72, 36], nn, { dtype: 'float16', plus: 'output' }),
    matmulCase([m, 33, 40], nn, { plus: 'bias' }),
  ]),
  matmulCase([4, 32, 36], tn, { scale: 2 }),
  matmulCase([65, 172, 1], nt, { plus: 'bias' }),
  matmulCase([65, 64, 2], nt, { plus: 'output' }),
  matmulCase([65, 64, 4], nt, { plus: 'addend', addendDtype: 'float16' }),
  // Few rows and columns, many terms: k is split.
  matmulCase([8, 2050, 33], nt, { plus: 'addend', scale: 2 }),
  matmulCase([33, 1024, 8], tn, { plus: 'output', batch: [2] }),
];

/** Rows below, at and above the height of a tile; columns that overhang; k that is no vec4. */
const linearsCases: OpCase[] = (
  [
    [[1, 8], 33],
    [[3, 64], 32],
    [[2, 1, 32], 70],
    [[8, 64], 64],
    [[5, 33], 7],
    [[33, 8], 65],
    [[2, 32, 16], 34],
  ] as const
).flatMap(([x, n]) =>
  (['float32', 'bfloat16'] as const).flatMap((dtype) =>
    ['two', 'three', 'gated'].map((kind) => {
      const k = x.at(-1)!;
      const weights = Array.from({ length: kind === 'three' ? 3 : 2 }, () =>
        operand(dtype, [n, k]),
      );
      return opCase(
        linearsOp,
        `${x.join('x')}-to-${n}-${kind}-${dtype}`,
        [f32(x), ...weights],
        { gated: kind === 'gated', compute: 'float32' },
        // A gate multiplies two sums of k terms.
        kind === 'gated' ? { abs: 2e-6 * k, rel: 1e-5 } : scaled(sumOf(k), Math.sqrt(k)),
      );
    }),
  ),
);

export const matmulCases: readonly OpCase[] = layouts
  .flatMap((layout) => [
    ...sizes.map((size) => matmulCase(size, layout)),
    matmulCase([0, 8, 4], layout),
    // Frozen weights: 16-bit b, odd sizes too (a row may begin in the middle of a 32-bit word).
    ...narrow.flatMap((dtype) =>
      (
        [
          [1, 64, 172],
          [33, 32, 64],
          [64, 172, 33],
          [3, 33, 3],
          [8, 8, 8],
        ] as const
      ).map((size) => matmulCase(size, layout, { dtype })),
    ),
    matmulCase([5, 32, 7], layout, { dtypeA: 'bfloat16' }),
    matmulCase([3, 8, 33], layout, { batch: [4] }),
    matmulCase([17, 33, 5], layout, { batch: [2, 3] }),
    matmulCase([64, 64, 64], layout, { batch: [2] }),
    matmulCase([1, 32, 33], layout, { batch: [3] }),
    // One b for the whole batch.
    matmulCase([9, 8, 33], layout, { batch: [3], batchOther: [] }),
    matmulCase([9, 8, 33], layout, { batch: [3], batchOther: [1] }),
    matmulCase([33, 64, 36], layout, { scale: 3 }),
    matmulCase([3, 32, 64], layout, { batch: [2], plus: 'addend' }),
  ])
  .concat(epilogues, linearsCases);
