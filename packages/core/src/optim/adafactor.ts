import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { adafactor, isFactored } from '../tensor/ops/adafactor.js';
import type { Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type OptionsInput, type OptionsOutput, parseOptions } from '../util/options.js';
import {
  ArenaOptimizer,
  type ArenaOptions,
  arenaShape,
  type UpdateRule,
} from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import type { ParameterGroup } from './parameterGroups.js';

const adafactorShape = {
  /** Added to each squared gradient. Default 1e-30. */
  eps1: z.number().positive().default(1e-30),
  /** Least root mean square of a parameter that its rate is scaled by. Default 1e-3. */
  eps2: z.number().positive().default(1e-3),
  /** Largest root mean square of an update. Default 1. */
  clipThreshold: z.number().positive().default(1),
  /** The second moment's decay rate is 1 - step^decayRate. Default -0.8. */
  decayRate: z.number().lt(0).default(-0.8),
  /** Decay rate of a first moment; null: none is kept. Default null. */
  beta1: z.number().min(0).lt(1).nullable().default(null),
  /** Scale the rate by the root mean square of the parameter. Default false. */
  scaleParameter: z.boolean().default(false),
};

/** A rate of its own, for those who make it by hand: the Trainer has its schedules. */
const relativeShape = {
  /** A rate of its own, min(1e-2, 1/sqrt(step)); `lr` is not read then. Default false. */
  relativeStep: z.boolean().default(false),
  /** With relativeStep: a rise to it, min(1e-6 step, 1/sqrt(step)). Default false. */
  warmupInit: z.boolean().default(false),
};
const adafactorOptions = z.strictObject({ ...adafactorShape, ...relativeShape, ...arenaShape });
type Checked = OptionsOutput<typeof adafactorOptions>;

/** Options of {@link Adafactor}, with torch's and transformers' defaults. */
export type AdafactorOptions = OptionsInput<typeof adafactorShape> &
  OptionsInput<typeof relativeShape> &
  ArenaOptions;

interface SlotState {
  /** Row and column of a matrix, or the second moment of a vector. */
  readonly second: readonly Tensor[];
  readonly first: Tensor | null;
}

/** The shapes of `exp_avg_sq_row` and `exp_avg_sq_col`, or of `exp_avg_sq`. */
const secondShapes = (shape: Shape): readonly Shape[] =>
  isFactored(shape) ? [shape.slice(0, -1), [...shape.slice(0, -2), shape.at(-1)!]] : [shape];

/**
 * Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), as in transformers: of the second moment of
 * a matrix [R, C] only the means of its rows and columns are kept, R + C numbers instead of R C.
 *
 *     b = 1 - t^decayRate; row = b row + (1-b) mean_c(g^2 + eps1); col = b col + (1-b) mean_r(g^2 +
 *     eps1) u = g / sqrt(row col / mean(row)); u /= max(1, RMS(u) / clipThreshold) p -= lr wd p +
 *     lr u, lr times max(eps2, RMS(p)) with scaleParameter
 */
export class Adafactor extends ArenaOptimizer<readonly SlotState[]> {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: AdafactorOptions = {}) {
    const checked = parseOptions(adafactorOptions, options, { where: 'Adafactor' });
    super(engine, groups, adafactorRule(checked), checked);
  }
}

function adafactorRule(options: Checked): UpdateRule<readonly SlotState[]> {
  const { eps1, eps2, clipThreshold, decayRate, beta1, scaleParameter } = options;
  const { relativeStep, warmupInit } = options;
  const rateOf = (lr: number, step: number) =>
    relativeStep ? Math.min(warmupInit ? 1e-6 * step : 1e-2, 1 / Math.sqrt(step)) : lr;
  return {
    init: (engine, { slots }) =>
      slots.map(({ parameter }) => ({
        second: secondShapes(parameter.shape).map((shape) => engine.keep(engine.zeros(shape))),
        first: beta1 === null ? null : engine.keep(engine.zeros(parameter.shape)),
      })),
    update: ({ slots, weightDecay }, state, { lr, step, clip }) =>
      slots.forEach(({ parameter: { tensor } }, i) => {
        adafactor({ parameter: tensor, ...state[i]! }, tensor.grad!, clip, {
          lr: rateOf(lr, step),
          beta2: 1 - step ** decayRate,
          beta1: beta1 ?? 0,
          eps: eps1,
          clipThreshold,
          weightDecay,
          paramScale: scaleParameter ? eps2 : -1,
        });
      }),
    tensors: (state) =>
      state.flatMap(({ second, first }) => (first ? [...second, first] : [...second])),
    arrays: ({ slots }, state) =>
      slots.flatMap(({ name, parameter }, i) => {
        const { second, first } = state[i]!;
        const kinds = isFactored(parameter.shape)
          ? ['exp_avg_sq_row', 'exp_avg_sq_col']
          : ['exp_avg_sq'];
        return [...second, ...(first ? [first] : [])].map((flat, j) => ({
          name: `${kinds[j] ?? 'exp_avg'}.${name}`,
          dtype: 'float32' as const,
          shape: flat.shape,
          flat,
          byteOffset: 0,
        }));
      }),
  };
}

/** `optim: "adafactor"`, at the learning rate of the schedule, as in transformers' Trainer. */
export const adafactorDefinition = defineOptimizer({
  name: 'adafactor',
  options: z.strictObject(adafactorShape),
  create: (engine, groups, _, options) => new Adafactor(engine, groups, options),
});
