import { dynamicMap } from '../../quant/codeMaps.js';
import * as ops from '../../tensor/ops/index.js';
import type { Shape } from '../../tensor/shape.js';
import type { Rng } from '../../util/rng.js';
import {
  type CaseOperand,
  exact,
  f32,
  normal,
  type OpCase,
  opCase,
  operand,
  uniform,
  values,
} from '../opCase.js';

const clip = (coefficient: number, finite: number): CaseOperand =>
  f32([3], values(3, coefficient, finite));
const skippedGrad = values(Number.NaN);
const skippedClip = clip(Number.NaN, 0);
const sizes = [1, 63, 64, 65, 1031];
/** A handful of roundings of numbers of size 1. */
const few = { abs: 5e-7, rel: 5e-6 };

const sgdSettings = {
  lr: 0.1,
  momentum: 0.9,
  dampening: 0.25,
  nesterov: 0,
  weightDecay: 0.1,
  first: 0,
};
const sgdCases: OpCase[] = [
  ...sizes.flatMap((n) => [
    opCase(ops.sgdOp, `${n}`, [f32([n]), clip(0.5, 1)], { ...sgdSettings, momentum: 0 }, few, {
      targets: [f32([n])],
    }),
    opCase(ops.sgdOp, `${n}-momentum`, [f32([n]), clip(0.5, 1)], sgdSettings, few, {
      targets: [f32([n]), f32([n])],
    }),
  ]),
  ...[
    ['first', { first: 1 }],
    ['nesterov', { nesterov: 1, dampening: 0 }],
    ['first-nesterov', { first: 1, nesterov: 1, dampening: 0, weightDecay: 0 }],
  ].map(([name, changes]) =>
    opCase(
      ops.sgdOp,
      name as string,
      [f32([64]), clip(1, 1)],
      { ...sgdSettings, ...(changes as object) },
      few,
      { targets: [f32([64]), f32([64])] },
    ),
  ),
  opCase(ops.sgdOp, 'skipped', [f32([65], skippedGrad), skippedClip], sgdSettings, exact, {
    targets: [f32([65]), f32([65])],
  }),
];

const lionSettings = { lr: 0.01, beta1: 0.9, beta2: 0.99, weightDecay: 0.1 };
const lionCases: OpCase[] = [
  ...sizes.map((n) =>
    opCase(ops.lionOp, `${n}`, [f32([n]), clip(0.5, 1)], lionSettings, few, {
      targets: [f32([n]), f32([n])],
    }),
  ),
  opCase(ops.lionOp, 'nothing', [f32([64], values(0)), clip(1, 1)], lionSettings, few, {
    targets: [f32([64]), f32([64], values(0))],
  }),
  opCase(ops.lionOp, 'skipped', [f32([65], skippedGrad), skippedClip], lionSettings, exact, {
    targets: [f32([65]), f32([65])],
  }),
];

const adafactorSettings = {
  lr: 0.01,
  beta2: 0.7,
  beta1: 0.9,
  eps: 1e-30,
  clipThreshold: 1,
  weightDecay: 0.1,
  paramScale: -1,
};
/** Means of squares of up to a thousand terms, their roots and quotients. */
const afterMeans = { abs: 1e-6, rel: 2e-5 };
const moment = uniform(0.1, 2);
/** Row and column, or the second moment of a vector. */
const seconds = (shape: Shape): CaseOperand[] =>
  ops.isFactored(shape)
    ? [f32(shape.slice(0, -1), moment), f32([...shape.slice(0, -2), shape.at(-1)!], moment)]
    : [f32(shape, moment)];
const shapes: readonly Shape[] = [
  [1],
  [65],
  [1031],
  [1, 1],
  [3, 5],
  [64, 64],
  [65, 63],
  [130, 7],
  [2, 3, 4],
];
const adafactorCases: OpCase[] = [
  ...shapes.flatMap((shape) =>
    (
      [
        ['', {}, false],
        ['-first', {}, true],
        ['-scaled', { paramScale: 1e-3, clipThreshold: 0.3, weightDecay: 0 }, false],
      ] as const
    ).map(([name, changes, first]) =>
      opCase(
        ops.adafactorOp,
        `${shape.join('x')}${name}`,
        [f32(shape), clip(0.5, 1)],
        { ...adafactorSettings, ...changes },
        afterMeans,
        { targets: [f32(shape), ...seconds(shape), ...(first ? [f32(shape)] : [])] },
      ),
    ),
  ),
  ...([[65], [5, 13]] as const).map((shape) =>
    opCase(
      ops.adafactorOp,
      `${shape.join('x')}-skipped`,
      [f32(shape, skippedGrad), skippedClip],
      adafactorSettings,
      exact,
      { targets: [f32(shape), ...seconds(shape)] },
    ),
  ),
];

const adamSettings = { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 };
const atStep = (step: number) => ({
  ...adamSettings,
  biasCorrection1: 1 - adamSettings.beta1 ** step,
  biasCorrection2: 1 - adamSettings.beta2 ** step,
});
const maps = f32([512], () => [...dynamicMap(), ...dynamicMap({ signed: false })]);
const words = (rng: Rng, size: number) => Uint32Array.from({ length: size }, () => rng.next());
/**
 * AdamW's ten roundings. Codes are exact: that a quotient lies within a rounding of the limit
 * between two codes happens once in a hundred thousand elements, and not in these.
 */
const adam8Tolerances = [{ abs: 1e-6, rel: 1e-5 }, exact, { abs: 1e-9, rel: 1e-5 }];
const adam8Cases: OpCase[] = [
  ...[256, 512, 2304].map((n) =>
    opCase(ops.adamw8bitOp, `${n}`, [f32([n]), clip(0.5, 1), maps], atStep(7), exact, {
      targets: [f32([n]), operand('uint32', [n / 2], words), f32([n / 128], uniform(1e-3, 0.1))],
      tolerances: adam8Tolerances,
    }),
  ),
  opCase(ops.adamw8bitOp, 'first', [f32([512], normal(0.1)), clip(1, 1), maps], atStep(1), exact, {
    targets: [f32([512]), operand('uint32', [256], values(0)), f32([4], values(0))],
    tolerances: adam8Tolerances,
  }),
  opCase(ops.adamw8bitOp, 'nothing', [f32([256], values(0)), clip(1, 1), maps], atStep(1), exact, {
    targets: [f32([256]), operand('uint32', [128], values(0)), f32([2], values(0))],
    tolerances: adam8Tolerances,
  }),
  opCase(
    ops.adamw8bitOp,
    'skipped',
    [f32([512], skippedGrad), skippedClip, maps],
    atStep(7),
    exact,
    { targets: [f32([512]), operand('uint32', [256], words), f32([4])] },
  ),
];

export const optimizerCases: readonly OpCase[] = [
  ...sgdCases,
  ...lionCases,
  ...adafactorCases,
  ...adam8Cases,
];
