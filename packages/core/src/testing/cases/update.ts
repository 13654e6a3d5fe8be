import type { DType } from '../../backend/dtype.js';
import * as ops from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import {
  below,
  type CaseOperand,
  exact,
  f32,
  i32,
  normal,
  type OpCase,
  opCase,
  operand,
  positiveSumOf,
  ulps,
  uniform,
  values,
} from '../opCase.js';

const sizes: readonly Shape[] = [[1], [63], [64], [65], [3, 5, 7], [1031], [0]];
const label = (shape: Shape) => shape.join('x');
const floats: readonly DType[] = ['float32', 'float16', 'bfloat16'];

const fillCases: OpCase[] = [
  ...sizes.map((shape) =>
    opCase(ops.fillOp, label(shape), [], { value: -2.5 }, exact, { targets: [f32(shape)] }),
  ),
  ...(['float16', 'bfloat16'] as const).map((dtype) =>
    opCase(ops.fillOp, `65-${dtype}`, [], { value: 0.75 }, exact, {
      targets: [operand(dtype, [65])],
    }),
  ),
  opCase(ops.fillOp, '65-int32', [], { value: -100 }, exact, { targets: [i32([65], below(9))] }),
];

const assignCases: OpCase[] = [
  ...sizes.map((shape) =>
    opCase(ops.assignOp, label(shape), [f32(shape)], {}, exact, { targets: [f32(shape)] }),
  ),
  ...floats.flatMap((from) =>
    floats.map((to) =>
      opCase(ops.assignOp, `${from}-to-${to}`, [operand(from, [65])], {}, exact, {
        targets: [operand(to, [65])],
      }),
    ),
  ),
  opCase(ops.assignOp, 'int32', [i32([65], below(1e6))], {}, exact, {
    targets: [i32([65], below(9))],
  }),
  opCase(ops.assignOp, 'other-shape', [f32([3, 5])], {}, exact, { targets: [f32([15])] }),
];

/** Two roundings of numbers of size 4 at most. */
const twoRoundings = { abs: 1e-6, rel: 2 ** -22 };
const accumulateCases: OpCase[] = sizes.flatMap((shape) =>
  [1, -0.375].map((scale) =>
    opCase(
      ops.accumulateOp,
      `${label(shape)}-times${scale}`,
      [f32(shape)],
      { scale },
      twoRoundings,
      { targets: [f32(shape)] },
    ),
  ),
);

const writeRowsCases: OpCase[] = (
  [
    [[1, 1, 1], 3, 2],
    [[2, 5, 2, 8], 9, 0],
    [[2, 1, 2, 8], 9, 8],
    [[3, 4, 33], 7, 3],
    [[2, 65], 130, 65],
  ] as const
).flatMap(([source, capacity, start]) =>
  floats.map((dtype) => {
    const [b, , ...rest] = source;
    return opCase(
      ops.writeRowsOp,
      `${label(source)}-at${start}of${capacity}-${dtype}`,
      [operand(dtype, source)],
      { start },
      exact,
      { targets: [operand(dtype, [b, capacity, ...rest])] },
    );
  }),
);

const writeRowsPairCases: OpCase[] = (
  [
    [2, 1, 2, 8],
    [3, 4, 33],
  ] as const
).flatMap((source) =>
  floats.map((dtype) => {
    const [b, , ...rest] = source;
    const target = operand(dtype, [b, 9, ...rest]);
    return opCase(
      ops.writeRowsOp,
      `${label(source)}-pair-at5of9-${dtype}`,
      [operand(dtype, source), operand(dtype, source)],
      { start: 5 },
      exact,
      { targets: [target, target] },
    );
  }),
);

const sumSquaresCases: OpCase[] = [1, 63, 64, 65, 5000, 70001].map((n) =>
  opCase(ops.sumSquaresOp, `${n}`, [f32([n])], {}, positiveSumOf(n)),
);

const clipFactorCases: OpCase[] = (
  [
    ['three-four', [9, 16], 1],
    ['below', [0.01, 0.02], 1],
    ['no-limit', [9, 16], 0],
    ['zero', [0, 0], 1],
    ['one', [4], 0.3],
    ['nan', [1, Number.NaN], 1],
    ['infinite', [Number.POSITIVE_INFINITY, 1], 1],
  ] as const
).map(([name, sums, maxNorm]) =>
  opCase(
    ops.clipFactorOp,
    name,
    [f32([sums.length], values(...sums))],
    { maxNorm: Math.fround(maxNorm) },
    ulps(8),
    // Without a finite norm there is no coefficient: min(1, NaN) is up to the device.
    name === 'nan' || name === 'infinite' ? { defined: (i) => i !== 1 } : {},
  ),
);
clipFactorCases.push(
  opCase(
    ops.clipFactorOp,
    'scaled',
    [f32([2], values(9e8, 16e8)), f32([2], values(1024, 3))],
    { maxNorm: 1 },
    ulps(8),
  ),
  opCase(ops.clipFactorOp, 'many', [f32([300], uniform(0, 4))], { maxNorm: 2 }, positiveSumOf(300)),
);

const lossScaleCases: OpCase[] = (
  [
    ['grows', 1, [1024, 4]],
    ['waits', 1, [1024, 2]],
    ['halves', 0, [1024, 4]],
  ] as const
).map(([name, finite, state]) =>
  opCase(
    ops.updateLossScaleOp,
    name,
    [f32([3], values(1, 1, finite))],
    { growth: 2, backoff: 0.5, interval: 5 },
    exact,
    { targets: [f32([2], values(...state))] },
  ),
);

const guardCases: OpCase[] = (
  [
    ['good', 2.5, 1, 0],
    ['gradient', 2.5, 0, 0],
    ['loss-nan', Number.NaN, 1, 0],
    ['loss-infinite', Number.NEGATIVE_INFINITY, 1, 0],
    ['halted', 2.5, 1, 1],
  ] as const
).flatMap(([name, loss, finite, halted]) =>
  (
    [
      [0, 0],
      [1, 0],
      [1, 1],
    ] as const
  ).map(([sticky, scaled]) =>
    opCase(
      ops.guardFiniteOp,
      `${name}${sticky ? '-sticky' : ''}${scaled ? '-scaled' : ''}`,
      [f32([1], values(loss))],
      { sticky, scaled },
      exact,
      { targets: [f32([3], values(3, 0.5, finite)), f32([1], values(halted))] },
    ),
  ),
);

const settings = { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 };
const atStep = (step: number) => ({
  ...settings,
  biasCorrection1: 1 - settings.beta1 ** step,
  biasCorrection2: 1 - settings.beta2 ** step,
});
const clip = (coefficient: number, finite: number): CaseOperand =>
  f32([3], values(3, coefficient, finite));
const moments = (n: number) => [f32([n]), f32([n], normal(0.1)), f32([n], uniform(1e-4, 1e-2))];
/**
 * Ten roundings. 1 - beta2 must be rounded after the subtraction, as torch does: in float32,
 * 1 - 0.999 is 4.7e-5 off, which these 5e-6 do not forgive.
 */
const adamwTolerance = { abs: 2e-7, rel: 5e-6 };
const adamwCases: OpCase[] = [
  ...[1, 63, 64, 65, 1031].map((n) =>
    opCase(ops.adamwOp, `${n}`, [f32([n]), clip(0.5, 1)], atStep(3), adamwTolerance, {
      targets: moments(n),
    }),
  ),
  opCase(ops.adamwOp, 'first-step', [f32([65]), clip(1, 1)], atStep(1), adamwTolerance, {
    targets: [f32([65]), f32([65], values(0)), f32([65], values(0))],
  }),
  opCase(
    ops.adamwOp,
    'no-decay',
    [f32([65]), clip(1, 1)],
    { ...atStep(100), weightDecay: 0 },
    adamwTolerance,
    { targets: moments(65) },
  ),
  opCase(
    ops.adamwOp,
    'skipped',
    [f32([65], values(Number.NaN)), clip(Number.NaN, 0)],
    atStep(3),
    exact,
    {
      targets: moments(65),
    },
  ),
];

/** The mask is one of bits, the same on every backend; what is left is one product. */
const dropoutCases: OpCase[] = [
  ...sizes.map((shape) =>
    opCase(ops.dropoutOp, label(shape), [f32(shape)], { p: 0.25, seed: 7, draw: 3 }, ulps(2)),
  ),
  ...(
    [
      [0.5, 0, 0],
      [0.1, 4294967295, 65536],
      [0.9, 123456789, 1],
    ] as const
  ).map(([p, seed, draw]) =>
    opCase(
      ops.dropoutOp,
      `p${p}-seed${seed}-draw${draw}`,
      [f32([1031])],
      { p: Math.fround(p), seed, draw },
      ulps(4),
    ),
  ),
];

/** The words are those of every backend; what is left is a product and a sum of size 1. */
const noiseCases: OpCase[] = [
  ...sizes.map((shape) =>
    opCase(
      ops.addNoiseOp,
      label(shape),
      [f32(shape)],
      { magnitude: 0.25, seed: 7, draw: 3 },
      twoRoundings,
    ),
  ),
  opCase(
    ops.addNoiseOp,
    'large-seed',
    [f32([65])],
    { magnitude: 2, seed: 4294967295, draw: 65536 },
    twoRoundings,
  ),
];

export const updateCases: readonly OpCase[] = [
  ...fillCases,
  ...assignCases,
  ...accumulateCases,
  ...writeRowsCases,
  ...writeRowsPairCases,
  ...sumSquaresCases,
  ...clipFactorCases,
  ...lossScaleCases,
  ...guardCases,
  ...adamwCases,
  ...dropoutCases,
  ...noiseCases,
];
