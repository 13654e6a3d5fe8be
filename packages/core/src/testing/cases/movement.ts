import type { DType } from '../../backend/dtype.js';
import * as ops from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import {
  below,
  type CaseOperand,
  exact,
  f32,
  i32,
  type OpCase,
  opCase,
  operand,
} from '../opCase.js';

/** Every dtype: movement keeps it. 16-bit ones share a word between two elements. */
const dtypes: readonly DType[] = ['float32', 'float16', 'bfloat16', 'int32'];
const of = (dtype: DType, shape: Shape): CaseOperand =>
  dtype === 'int32' ? i32(shape, below(1000)) : operand(dtype, shape);

const orders: readonly (readonly [Shape, readonly number[]])[] = [
  [
    [1, 1],
    [1, 0],
  ],
  [
    [63, 65],
    [1, 0],
  ],
  [
    [64, 64],
    [1, 0],
  ],
  [
    [2, 3, 5],
    [2, 0, 1],
  ],
  [
    [2, 5, 4, 8],
    [0, 2, 1, 3],
  ],
  [
    [2, 4, 17, 16],
    [0, 2, 1, 3],
  ],
  [
    [3, 4, 5, 6],
    [3, 1, 2, 0],
  ],
  [
    [2, 3, 2, 3, 5],
    [4, 2, 0, 3, 1],
  ],
  [
    [0, 4],
    [1, 0],
  ],
];

const stretches: readonly (readonly [Shape, Shape])[] = [
  [[1], [65]],
  [[], [3, 4]],
  [[7], [5, 7]],
  [
    [3, 1],
    [3, 33],
  ],
  [
    [2, 1, 4],
    [2, 3, 4],
  ],
  [
    [2, 2, 1, 5, 3],
    [2, 2, 4, 5, 3],
  ],
  [
    [1, 4],
    [0, 4],
  ],
];

const windows: readonly (readonly [Shape, axis: number, start: number, end: number])[] = [
  [[65], 0, 1, 65],
  [[65], 0, 3, 4],
  [[7, 9], 0, 2, 5],
  [[7, 9], 1, 3, 8],
  [[2, 17, 4, 8], 1, 0, 5],
  [[2, 17, 4, 8], 3, 4, 8],
  [[2, 3, 130], 2, 1, 66],
  [[5, 4], 0, 2, 2],
];

const joins: readonly (readonly [axis: number, ...Shape[]])[] = [
  [0, [1], [64]],
  [0, [3, 5], [1, 5], [2, 5]],
  [1, [3, 5], [3, 1], [3, 33], [3, 7]],
  [3, [2, 5, 3, 4], [2, 5, 3, 4]],
  [1, [2, 9, 2, 8], [2, 3, 2, 8]],
];

function cases(dtype: DType): OpCase[] {
  const tag = dtype === 'float32' ? '' : `-${dtype}`;
  return [
    ...orders.map(([shape, order]) =>
      opCase(
        ops.permuteOp,
        `${shape.join('x')}-to-${order.join('')}${tag}`,
        [of(dtype, shape)],
        { order },
        exact,
      ),
    ),
    ...stretches.map(([from, shape]) =>
      opCase(
        ops.expandOp,
        `${from.join('x') || 'scalar'}-to-${shape.join('x')}${tag}`,
        [of(dtype, from)],
        { shape },
        exact,
      ),
    ),
    ...windows.map(([shape, axis, start, end]) =>
      opCase(
        ops.sliceOp,
        `${shape.join('x')}-axis${axis}-${start}to${end}${tag}`,
        [of(dtype, shape)],
        { axis, start, end },
        exact,
      ),
    ),
    ...joins.map(([axis, ...parts]) =>
      opCase(
        ops.concatOp,
        `axis${axis}-${parts.map((p) => p.join('x')).join('-')}${tag}`,
        parts.map((shape) => of(dtype, shape)),
        { axis },
        exact,
      ),
    ),
  ];
}

const embeddingCases = (['float32', 'float16', 'bfloat16'] as const).flatMap((dtype) =>
  (
    [
      [1, 1, [1]],
      [11, 6, [2, 4]],
      [64, 64, [65]],
      [300, 33, [3, 5]],
      [5, 8, [0]],
    ] as const
  ).map(([rows, width, ids]) =>
    opCase(
      ops.embeddingOp,
      `${rows}x${width}-ids${ids.join('x')}${dtype === 'float32' ? '' : `-${dtype}`}`,
      [operand(dtype, [rows, width]), i32(ids, below(rows))],
      { paddingIdx: rows > 10 ? 3 : ops.NO_PADDING },
      exact,
    ),
  ),
);

/** Repeated ids add up; at most 65 terms of size 1, in any order. */
const embeddingGradCases = (
  [
    [1, 1, [1], ops.NO_PADDING],
    [1, 1, [1], 0],
    [11, 6, [2, 4], ops.NO_PADDING],
    [3, 33, [65], ops.NO_PADDING],
    [3, 33, [65], 0],
    [3, 33, [65], 2],
    [300, 64, [2, 63], ops.NO_PADDING],
    [300, 64, [2, 63], 299],
    [70, 5, [4], ops.NO_PADDING],
  ] as const
).map(([rows, width, ids, paddingIdx]) =>
  opCase(
    ops.embeddingGradOp,
    `${rows}x${width}-ids${ids.join('x')}${paddingIdx < 0 ? '' : `-padding${paddingIdx}`}`,
    [i32(ids, below(rows)), f32([...ids, width])],
    { rows, paddingIdx },
    { abs: 2e-5, rel: 1e-6 },
  ),
);

export const movementCases: readonly OpCase[] = [
  ...dtypes.flatMap(cases),
  ...embeddingCases,
  ...embeddingGradCases,
];
