import { Engine, numel, ops } from '@attune/core';
import { bytesPerElement } from '@attune/core/backend';
import {
  below,
  compareCase,
  exact,
  f32,
  float32Kernel,
  i32,
  type OpCase,
  opCase,
  opCases,
  operand,
  scaled,
  sumOf,
  uniform,
  values,
} from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Kernel } from '../src/kernels/kernel.js';
import { type Watched, withBindings } from './bindings.js';

const LIMIT = 32_768;

const bytes = ({ shape, dtype }: OpCase['inputs'][number]) => numel(shape) * bytesPerElement[dtype];
const isLarge = ({ inputs, targets }: OpCase) =>
  [...inputs, ...targets].some((operand) => bytes(operand) > LIMIT);

type Layout = readonly [transposeA: boolean, transposeB: boolean];

/** scale * a b of a table [V, D] as one of the operands or as the result. */
const product = (
  name: string,
  [m, k, n]: readonly [number, number, number],
  [transposeA, transposeB]: Layout,
  plus?: 'addend' | 'bias' | 'output',
  dtype: 'float32' | 'bfloat16' = 'float32',
): OpCase =>
  opCase(
    ops.matmulOp,
    `split-${name}-${m}x${k}x${n}-${dtype}${plus ? `-plus-${plus}` : ''}`,
    [
      f32(transposeA ? [k, m] : [m, k]),
      operand(dtype, transposeB ? [n, k] : [k, n]),
      ...(plus === 'bias' ? [f32([n])] : []),
      ...(plus === 'addend' ? [operand(dtype, [m, n])] : []),
    ],
    {
      ...{ transposeA, transposeB, scale: 0.5 },
      accumulate: plus === 'output',
      compute: 'float32',
    },
    sumOf(k),
    plus === 'output' ? { targets: [f32([m, n])] } : {},
  );

const nt: Layout = [false, true];
const nn: Layout = [false, false];
const tn: Layout = [true, false];
const tt: Layout = [true, true];

/** Tables of 40 rows a window, at shapes that end within a window and within a word. */
const products = (['float32', 'bfloat16'] as const).flatMap((dtype) => [
  product('head', [5, 72, 643], nt, undefined, dtype),
  product('head', [1, 72, 643], nt, undefined, dtype),
  product('head', [5, 72, 643], nt, 'bias', dtype),
  product('head', [1, 72, 643], nt, 'bias', dtype),
  product('head', [5, 72, 643], nt, 'addend', dtype),
  product('head', [5, 72, 643], nt, 'output', dtype),
  product('to hidden', [5, 643, 72], nn, undefined, dtype),
  product('to hidden', [1, 643, 72], nn, 'output', dtype),
  product('to hidden', [5, 643, 72], nn, 'addend', dtype),
  product('to table', [643, 5, 72], tn, undefined, dtype),
  product('to table', [643, 5, 72], tn, 'output', dtype),
  product('of table', [72, 643, 8], tn, 'output', dtype),
  product('of table', [72, 643, 8], tt, undefined, dtype),
  product('rows', [643, 72, 9], nn, 'bias', dtype),
  product('both', [643, 64, 320], nt, undefined, dtype),
]);

const V = 643;
const D = 72;
const tables = [
  ...(['float32', 'float16', 'bfloat16'] as const).map((dtype) =>
    opCase(
      ops.embeddingOp,
      `split-${dtype}`,
      [operand(dtype, [V, D]), i32([3, 11], below(V))],
      { paddingIdx: ops.NO_PADDING },
      exact,
    ),
  ),
  ...[ops.NO_PADDING, 0, 300].map((paddingIdx) =>
    opCase(
      ops.embeddingGradOp,
      `split-padding${paddingIdx}`,
      [
        i32([4, 12], (rng, n) =>
          Int32Array.from({ length: n }, (_, i) => (i % 4 === 0 ? 300 : i % 7 ? rng.below(V) : 0)),
        ),
        f32([4, 12, D]),
      ],
      { rows: V, paddingIdx },
      sumOf(48),
    ),
  ),
];

/** Codes and scales of the moments of a parameter of 50 blocks, two of them in a window. */
const BLOCKS = 50;
const moments = [
  opCase(
    ops.adamw8bitOp,
    'split',
    [
      f32([BLOCKS * 256]),
      f32([3], values(1, 0.5, 1)),
      f32([512], (_, n) => Array.from({ length: n }, (_, i) => ((i % 256) - 100) / 155)),
    ],
    {
      ...{ lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1 },
      ...{ biasCorrection1: 0.5, biasCorrection2: 0.5 },
    },
    float32Kernel,
    {
      targets: [
        f32([BLOCKS * 256]),
        operand('uint32', [BLOCKS * 128], () => Array(BLOCKS * 128).fill(0xc0_b0_a0_90)),
        f32([BLOCKS * 2], uniform(0.5, 1)),
      ],
      tolerances: [float32Kernel, exact, float32Kernel],
    },
  ),
];

/** What the op's own cases have at sizes that fit; here only the large ones count. */
const common = opCases.filter(isLarge);

const [OUT, IN, BLOCK] = [515, 128, 64];
const blocks = Math.ceil((OUT * IN) / BLOCK);
const codes = (words: number) =>
  operand('uint32', [words], (rng, n) => Array.from({ length: n }, () => rng.below(2 ** 32)));

/** A table [515, 128] of random codes. */
const quantized = ([4, 8] as const).flatMap((bits) =>
  [false, true].flatMap((nested) => {
    const parts = [
      codes((OUT * IN * bits) / 32),
      nested ? codes(Math.ceil(blocks / 4)) : f32([blocks], uniform(0.5, 1)),
      f32([2 ** bits]),
      ...(nested ? [f32([Math.ceil(blocks / 256)], uniform(0.5, 1)), f32([256])] : []),
    ];
    const held = { bits, blockSize: BLOCK, nested, offset: nested ? 0.25 : 0 };
    const name = `split-${bits}${nested ? '-nested' : ''}`;
    return [
      ...(['float32', 'bfloat16'] as const).map((dtype) =>
        opCase(
          ops.dequantizeOp,
          `${name}-${dtype}`,
          parts,
          { ...held, shape: [OUT, IN], dtype },
          dtype === 'float32' ? { abs: 1e-6, rel: 1e-6 } : { abs: 1e-6, rel: 2 ** -7 },
        ),
      ),
      ...[1, 5].flatMap((m) =>
        [false, true].flatMap((transposed) =>
          ([null, 'bias', 'addend'] as const).map((plus) => {
            const [k, n] = transposed ? [OUT, IN] : [IN, OUT];
            const addend = plus === 'bias' ? [f32([n])] : plus === 'addend' ? [f32([m, n])] : [];
            return opCase(
              ops.quantizedMatmulOp,
              `${name}-${m}${transposed ? '-transposed' : ''}-${plus}`,
              [f32([m, k]), ...parts, ...addend],
              {
                ...{ ...held, outFeatures: OUT, inFeatures: IN, transposed, scale: 0.5 },
                ...{ accumulate: false, compute: 'float32' },
              },
              scaled(sumOf(k), 3),
            );
          }),
        ),
      ),
    ];
  }),
);

describe.each([
  ['a software device', true],
  ['a GPU without subgroups', false],
])('on %s whose bindings end at 32 KiB', (_, software) => {
  let watched: Watched;
  beforeAll(async () => {
    watched = await withBindings(LIMIT, software);
  });
  afterAll(() => watched.backend[Symbol.asyncDispose]());

  const failures = async (cases: readonly OpCase[]) => {
    expect(cases.length).toBeGreaterThan(0);
    const messages: string[] = [];
    for (const testCase of cases) {
      const { ok, message } = await compareCase(watched.backend, testCase);
      if (!ok) messages.push(message);
    }
    expect(watched.largest()).toBeLessThanOrEqual(LIMIT);
    return messages;
  };

  test('products with tables equal the reference', async () => {
    expect(products.every((c) => isLarge(c) || c.name.includes('to table'))).toBe(true);
    expect(await failures(products)).toEqual([]);
  });

  test('look-ups in tables and their gradients do', async () => {
    expect(await failures(tables)).toEqual([]);
  });

  test('moments of 8 bits are updated as in the reference', async () => {
    expect(moments.every(isLarge)).toBe(true);
    expect(await failures(moments)).toEqual([]);
  });

  test('quantised products and their weights do', async () => {
    expect(await failures(quantized)).toEqual([]);
  });

  // The same splits: other kernels would take a minute to compile.
  test.runIf(software)('a call on other large tensors is right or refused by name', async () => {
    const wrong = (await failures(common)).filter((text) => !text.includes('TENSOR_TOO_LARGE'));
    expect(wrong).toEqual([]);
  });
});

test('a kernel that borrows more than a binding is refused by name', async () => {
  const greedy: Kernel = {
    op: 'exp',
    plan: (_call, _facts, scratch) => {
      scratch(LIMIT, 'float32');
      return [];
    },
  };
  const { backend } = await withBindings(LIMIT, true, [greedy]);
  const x = new Engine(backend).tensor([1]);
  const before = backend.stats.liveBytes;
  expect(() => x.exp()).toThrow(
    /TENSOR_TOO_LARGE.*"exp" works on 131072 bytes of memory of its own/,
  );
  expect(backend.stats.liveBytes - before).toBeLessThan(1024);
  await backend[Symbol.asyncDispose]();
});
