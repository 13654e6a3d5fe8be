import type { DType } from '../../backend/dtype.js';
import * as ops from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import {
  below,
  type Draw,
  exact,
  f32,
  float32Kernel,
  i32,
  normal,
  type OpCase,
  opCase,
  operand,
  type Tolerance,
  ulps,
  uniform,
  values,
} from '../opCase.js';

/** Around one workgroup of 64, odd lengths, more than one axis, nothing at all. */
const shapes: readonly Shape[] = [[1], [63], [64], [65], [3, 5, 7], [0], [1031]];

/**
 * [left, right]: equal, a row, a column, one number, both ways, an inner axis, other ranks, empty.
 */
const pairs: readonly (readonly [Shape, Shape])[] = [
  [[1], [1]],
  [[63], [63]],
  [[64], [64]],
  [[65], [65]],
  [[4, 33], [33]],
  [
    [4, 33],
    [4, 1],
  ],
  [[4, 33], [1]],
  [[33], [4, 33]],
  [
    [5, 1],
    [1, 7],
  ],
  [
    [2, 3, 5],
    [2, 1, 5],
  ],
  [
    [2, 3, 4, 5],
    [3, 1, 5],
  ],
  [[], [6]],
  [
    [0, 4],
    [1, 4],
  ],
  [[1031], [1031]],
];

type NoAttrs = Record<never, never>;
type ElementwiseOp = typeof ops.addOp;

function binaryCases(
  op: ElementwiseOp,
  tolerance: Tolerance,
  a: Draw = normal(),
  b: Draw = normal(),
): OpCase[] {
  const plain = pairs.map(([left, right]) =>
    opCase<NoAttrs>(
      op,
      `${left.join('x') || 'scalar'}-${right.join('x')}`,
      [f32(left, a), f32(right, b)],
      {},
      tolerance,
    ),
  );
  const narrow = (['float16', 'bfloat16'] as const).flatMap((dtype: DType) => [
    opCase<NoAttrs>(
      op,
      `5x33-33-${dtype}`,
      [f32([5, 33], a), operand(dtype, [33], b)],
      {},
      tolerance,
    ),
    opCase<NoAttrs>(
      op,
      `both-${dtype}`,
      [operand(dtype, [65], a), operand(dtype, [65], b)],
      {},
      tolerance,
    ),
  ]);
  return [...plain, ...narrow];
}

/** Comparisons also work on ids and segment numbers. */
const integerCases = (op: ElementwiseOp): OpCase[] => [
  opCase<NoAttrs>(
    op,
    'int32-2x7x1-2x1x7',
    [i32([2, 7, 1], below(3)), i32([2, 1, 7], below(3))],
    {},
    exact,
  ),
];

const awayFromZero: Draw = (rng, size) =>
  Float64Array.from({ length: size }, () => {
    const x = rng.normal();
    return x + Math.sign(x || 1) * 0.25;
  });
/** Many ties. */
const coarse: Draw = (rng, size) => Float64Array.from({ length: size }, () => rng.below(5) - 2);

function unaryCases(op: ElementwiseOp, tolerance: Tolerance, draw: Draw): OpCase[] {
  return shapes.map((shape) =>
    opCase<NoAttrs>(op, shape.join('x'), [f32(shape, draw)], {}, tolerance),
  );
}

/** Far out on both sides, where a careless formula overflows or cancels. */
const tails = (op: ElementwiseOp, tolerance: Tolerance): OpCase =>
  opCase<NoAttrs>(
    op,
    'tails',
    [f32([14], values(-100, -40, -20, -12, -8, -5, -1e-3, 0, 1e-3, 5, 8, 20, 40, 100))],
    {},
    tolerance,
  );

const wide = uniform(-6, 6);
const curves = [
  ops.tanhOp,
  ops.sigmoidOp,
  ops.logSigmoidOp,
  ops.siluOp,
  ops.siluGradOp,
  ops.geluOp,
  ops.geluGradOp,
  ops.geluTanhOp,
  ops.geluTanhGradOp,
];

/** x/2 (1 + tanh) multiplies tanh's 1e-5 by x/2. */
function scaledToTails(op: ElementwiseOp): Tolerance {
  return op === ops.geluTanhOp || op === ops.geluTanhGradOp
    ? { abs: 5e-5, rel: 1e-5 }
    : float32Kernel;
}

function affineCases(): OpCase[] {
  const settings = [
    ['twice', 2, 0],
    ['shift', 1, -0.75],
    ['both', -0.5, 3],
    ['zero', 0, 1.5],
    ['mask', 1e30, -1e30],
  ] as const;
  return settings.flatMap(([name, scale, shift]) =>
    [[65], [3, 5, 7], [0]].map((shape) =>
      opCase(
        ops.affineOp,
        `${name}-${shape.join('x')}`,
        // A mask holds zeros and ones: there 1e30 - 1e30 must be exactly 0.
        [f32(shape, name === 'mask' ? below(2) : normal())],
        // As float32, so that only the arithmetic is judged.
        { scale: Math.fround(scale), shift: Math.fround(shift) },
        name === 'mask' ? ulps(1) : { abs: 1e-6, rel: 2 ** -22 },
      ),
    ),
  );
}

/** Ties of both 16-bit formats (to even), their largest numbers, overflow, zeros. */
const ties = values(
  1 + 2 ** -11,
  1 + 3 * 2 ** -11,
  1 + 2 ** -8,
  1 + 3 * 2 ** -8,
  -1 - 2 ** -8,
  65504,
  65519,
  -65504,
  2 ** -14,
  0,
  1 + 2 ** -8 + 2 ** -20,
);

function castCases(): OpCase[] {
  const floats: readonly DType[] = ['float32', 'float16', 'bfloat16'];
  const between = floats.flatMap((from) =>
    floats
      .filter((to) => to !== from)
      .flatMap((to) =>
        [[1], [63], [65], [3, 7], [0]].map((shape) =>
          opCase(
            ops.castOp,
            `${from}-${to}-${shape.join('x')}`,
            [operand(from, shape)],
            { dtype: to },
            exact,
          ),
        ),
      ),
  );
  return [
    ...between,
    ...(['float16', 'bfloat16'] as const).map((dtype) =>
      opCase(ops.castOp, `ties-${dtype}`, [f32([11], ties)], { dtype }, exact),
    ),
    opCase(
      ops.castOp,
      'bfloat16-range',
      [f32([4], values(3e38, -1e-30, 1e30, 5))],
      { dtype: 'bfloat16' },
      exact,
    ),
    opCase(ops.castOp, 'int32-float32', [i32([65], below(100000))], { dtype: 'float32' }, exact),
    opCase(ops.castOp, 'float32-int32', [f32([65], uniform(-100, 100))], { dtype: 'int32' }, exact),
  ];
}

export const elementwiseCases: readonly OpCase[] = [
  ...binaryCases(ops.addOp, ulps(1)),
  ...binaryCases(ops.subOp, ulps(1)),
  ...binaryCases(ops.mulOp, ulps(1)),
  ...binaryCases(ops.divOp, ulps(3), normal(), awayFromZero),
  ...[ops.maximumOp, ops.minimumOp].flatMap((op) => binaryCases(op, exact)),
  ...[ops.equalOp, ops.greaterOp, ops.lessOp].flatMap((op) => [
    ...binaryCases(op, exact, coarse, coarse),
    ...integerCases(op),
  ]),
  ...unaryCases(ops.expOp, ulps(3 + 2 * 6), wide),
  // WGSL: 2^-21 absolute between 1/2 and 2, 3 ulp elsewhere.
  ...unaryCases(ops.logOp, { abs: 2 ** -20, rel: 2 ** -21 }, uniform(0.01, 50)),
  ...unaryCases(ops.sqrtOp, ulps(5), uniform(0, 50)),
  ...unaryCases(ops.rsqrtOp, ulps(3), uniform(0.01, 50)),
  ...unaryCases(ops.squareOp, ulps(1), normal()),
  ...unaryCases(ops.absOp, exact, normal()),
  ...unaryCases(ops.signOp, exact, coarse),
  ...unaryCases(ops.reluOp, exact, normal()),
  // WGSL: 2^-11 absolute within [-pi, pi].
  ...[ops.sinOp, ops.cosOp].flatMap((op) =>
    unaryCases(op, { abs: 2 ** -11, rel: 0 }, uniform(-Math.PI, Math.PI)),
  ),
  ...curves.flatMap((op) => unaryCases(op, scaledToTails(op), wide)),
  ...curves.map((op) => tails(op, scaledToTails(op))),
  ...affineCases(),
  ...castCases(),
];
