import { z } from 'zod';
import { AttuneError } from '../util/errors.js';
import { checkNames, type OptionsInput } from '../util/options.js';
import { GreedyLr } from './greedy.js';
import type {
  MetricSchedule,
  MetricScheduleOptions,
  MetricSchedulerType,
  metricScheduleShape,
} from './metricSchedule.js';
import { ReduceLrOnPlateau } from './plateau.js';
import type { Schedule } from './scheduleDefinition.js';

/** The built-in schedules that are functions of the updates done, under Hugging Face's names. */
export type StepSchedulerType =
  | 'linear'
  | 'cosine'
  | 'cosine_with_restarts'
  | 'cosine_with_min_lr'
  | 'cosine_warmup_with_min_lr'
  | 'polynomial'
  | 'constant'
  | 'constant_with_warmup'
  | 'inverse_sqrt'
  | 'warmup_stable_decay';
/** The built-in schedules; the others follow a metric, see {@link metricSchedule}. */
export type SchedulerType = StepSchedulerType | MetricSchedulerType;

const ramp = z.enum(['linear', 'cosine', '1-sqrt']);

const runShape = {
  /**
   * Updates of linear rise from 0. The first update then has rate 0, as in Hugging Face's Trainer.
   */
  warmupSteps: z.number(),
  /** Updates in the whole run. */
  totalSteps: z.number(),
  /** The rate that the factor multiplies; only polynomial decay and `minLr` need it. */
  learningRate: z.number(),
};

/** What the built-in schedules take, each its own. */
export const scheduleShape = {
  /**
   * Waves of a cosine. Default 0.5: one fall from 1 to 0. With restarts: how many falls; default 1.
   */
  numCycles: z.number().optional(),
  /** Exponent of polynomial decay. Default 1. */
  power: z.number().optional(),
  /** Rate at the end of polynomial decay. Default 1e-7. */
  lrEnd: z.number().optional(),
  /** Lowest rate of cosine_with_min_lr; give this or minLrRate. No default. */
  minLr: z.number().optional(),
  /**
   * The lowest rate of cosine_with_min_lr as a share of the learning rate, in the place of minLr.
   * No default.
   */
  minLrRate: z.number().optional(),
  /**
   * First rate of cosine_warmup_with_min_lr as a share of the learning rate. Default 1 /
   * warmupSteps.
   */
  warmupLrRate: z.number().optional(),
  /** Updates in which warmup_stable_decay falls. It has no default. */
  numDecaySteps: z.number().optional(),
  /** Updates in which it stays at 1. Default: what warmup and decay leave of the run. */
  numStableSteps: z.number().optional(),
  /** How it rises. Default "linear". */
  warmupType: ramp.optional(),
  /** How it falls. Default "cosine". */
  decayType: ramp.optional(),
  /** Its lowest rate, at both ends, as a share of the learning rate. Default 0. */
  minLrRatio: z.number().optional(),
  /** Time scale of inverse_sqrt. Default: warmupSteps, or 10,000 without warmup. */
  timescale: z.number().optional(),
};
const scheduleOptions = z.strictObject({ ...runShape, ...scheduleShape });

/** What a schedule is made from. */
export type ScheduleOptions = OptionsInput<typeof runShape> & OptionsInput<typeof scheduleShape>;

/**
 * What `lrSchedulerKwargs` may hold for the built-in schedules; each takes its own, and a plugin's
 * others.
 */
export type SchedulerKwargs = OptionsInput<typeof scheduleShape> &
  OptionsInput<typeof metricScheduleShape>;

type MakeSchedule = (options: ScheduleOptions) => Schedule;

/** A linear rise over `warmupSteps`, then `after`. */
const warm =
  (warmupSteps: number, after: Schedule): Schedule =>
  (step) =>
    step < warmupSteps ? step / Math.max(1, warmupSteps) : after(step);

/** How much of the run after warmup is over; above 1 beyond its end. */
const progress = ({ warmupSteps, totalSteps }: ScheduleOptions, step: number) =>
  (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);

function cosine(options: ScheduleOptions, minimum: number): Schedule {
  const cycles = options.numCycles ?? 0.5;
  return warm(options.warmupSteps, (step) => {
    const wave = 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress(options, step)));
    return Math.max(0, wave * (1 - minimum) + minimum);
  });
}

function restarts(options: ScheduleOptions): Schedule {
  const cycles = options.numCycles ?? 1;
  return warm(options.warmupSteps, (step) => {
    const done = progress(options, step);
    if (done >= 1) return 0;
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((cycles * done) % 1))));
  });
}

function polynomial(options: ScheduleOptions): Schedule {
  const { warmupSteps, totalSteps, learningRate, power = 1, lrEnd = 1e-7 } = options;
  if (learningRate <= lrEnd)
    throw new AttuneError(
      'SCHEDULE_INVALID',
      `polynomial: lrEnd ${lrEnd} is not below the learning rate ${learningRate}.`,
      { remedy: 'Lower lrSchedulerKwargs.lrEnd.' },
    );
  return warm(warmupSteps, (step) => {
    if (step > totalSteps) return lrEnd / learningRate;
    const remaining = 1 - (step - warmupSteps) / (totalSteps - warmupSteps);
    return ((learningRate - lrEnd) * remaining ** power + lrEnd) / learningRate;
  });
}

function minimumRate({ minLr, minLrRate, learningRate }: ScheduleOptions): number {
  if ((minLr === undefined) === (minLrRate === undefined))
    throw new AttuneError(
      'SCHEDULE_INVALID',
      'cosine_with_min_lr and cosine_warmup_with_min_lr need one of minLr and minLrRate.',
      { remedy: 'Pass e.g. lrSchedulerKwargs: { minLrRate: 0.1 }.' },
    );
  return minLrRate ?? minLr! / learningRate;
}

/** A cosine whose warmup does not start at 0, one update ahead of the others. */
function warmCosine(options: ScheduleOptions, minimum: number): Schedule {
  const { warmupSteps, totalSteps, numCycles = 0.5, warmupLrRate } = options;
  return (step) => {
    if (step < warmupSteps)
      return warmupLrRate === undefined
        ? (step + 1) / Math.max(1, warmupSteps)
        : warmupLrRate + ((1 - warmupLrRate) * step) / Math.max(1, warmupSteps - 1);
    const done = (step - warmupSteps + 1) / Math.max(1, totalSteps - warmupSteps);
    const wave = 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * done));
    return Math.max(0, wave * (1 - minimum) + minimum);
  };
}

/**
 * Warmup, stable, decay (Hu et al. 2024, MiniCPM, arXiv:2404.06395).
 */
function stableDecay(options: ScheduleOptions): Schedule {
  const { warmupSteps, totalSteps, numDecaySteps, numCycles = 0.5, minLrRatio = 0 } = options;
  const { warmupType = 'linear', decayType = 'cosine' } = options;
  if (numDecaySteps === undefined)
    throw new AttuneError('SCHEDULE_INVALID', 'warmup_stable_decay needs numDecaySteps.', {
      remedy: 'Pass e.g. lrSchedulerKwargs: { numDecaySteps: 100 }.',
    });
  const stableSteps = options.numStableSteps ?? totalSteps - warmupSteps - numDecaySteps;
  const scaled = (factor: number) => Math.max(0, factor * (1 - minLrRatio) + minLrRatio);
  return (step) => {
    if (step < warmupSteps) {
      const done = step / Math.max(1, warmupSteps);
      if (warmupType === 'linear') return scaled(done);
      return scaled(
        warmupType === 'cosine' ? 0.5 * (1 - Math.cos(Math.PI * done)) : 1 - Math.sqrt(1 - done),
      );
    }
    if (step < warmupSteps + stableSteps) return 1;
    if (step >= warmupSteps + stableSteps + numDecaySteps) return minLrRatio;
    const done = (step - warmupSteps - stableSteps) / Math.max(1, numDecaySteps);
    if (decayType === 'linear') return scaled(1 - done);
    return scaled(
      decayType === 'cosine'
        ? 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * done))
        : 1 - Math.sqrt(done),
    );
  };
}

const schedules: Readonly<Record<StepSchedulerType, MakeSchedule>> = {
  constant: () => () => 1,
  constant_with_warmup: ({ warmupSteps }) => warm(warmupSteps, () => 1),
  linear: (options) =>
    warm(options.warmupSteps, (step) =>
      Math.max(
        0,
        (options.totalSteps - step) / Math.max(1, options.totalSteps - options.warmupSteps),
      ),
    ),
  cosine: (options) => cosine(options, 0),
  cosine_with_min_lr: (options) => cosine(options, minimumRate(options)),
  cosine_warmup_with_min_lr: (options) => warmCosine(options, minimumRate(options)),
  cosine_with_restarts: restarts,
  polynomial,
  inverse_sqrt: ({ warmupSteps, timescale = warmupSteps || 10_000 }) =>
    warm(warmupSteps, (step) => 1 / Math.sqrt((step + timescale - warmupSteps) / timescale)),
  warmup_stable_decay: stableDecay,
};

/**
 * The factor that multiplies the learning rate, by Hugging Face's formulas.
 *
 * @see transformers `optimization.py`
 * @throws UNKNOWN_OPTION, SCHEDULE_INVALID
 */
export function schedule(type: StepSchedulerType, options: ScheduleOptions): Schedule {
  checkNames(scheduleOptions, options, { where: `schedule("${type}")` });
  return schedules[type](options);
}

/** The learning rate that follows an evaluation metric. @throws UNKNOWN_OPTION */
export const metricSchedule = (
  type: MetricSchedulerType,
  options: MetricScheduleOptions,
): MetricSchedule => (type === 'greedy' ? new GreedyLr(options) : new ReduceLrOnPlateau(options));

/**
 * Warmup as Hugging Face counts it: a number of updates, or (below 1) a share of them rounded up.
 */
export function resolveWarmupSteps(
  warmup: { readonly warmupSteps: number; readonly warmupRatio: number },
  totalSteps: number,
): number {
  const { warmupSteps, warmupRatio } = warmup;
  if (warmupSteps >= 1) return warmupSteps;
  return Math.ceil((warmupSteps > 0 ? warmupSteps : warmupRatio) * totalSteps);
}
