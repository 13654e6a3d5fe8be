import { z } from 'zod';
import { Registry } from '../di/registry.js';
import { type MetricSchedulerType, metricScheduleShape } from './metricSchedule.js';
import {
  defineSchedule,
  LearningRateSchedules,
  type ScheduleDefinition,
} from './scheduleDefinition.js';
import { metricSchedule, type StepSchedulerType, schedule, scheduleShape } from './schedulers.js';

const { numCycles, minLr, minLrRate, warmupLrRate, power, lrEnd, timescale } = scheduleShape;
const { numDecaySteps, numStableSteps, warmupType, decayType, minLrRatio } = scheduleShape;
const { warmup, maxLr, smooth, windowSize, resetStart, ...plateau } = metricScheduleShape;
const minimum = { numCycles, minLr, minLrRate };

const byUpdates = (name: StepSchedulerType, options: z.ZodRawShape = {}): ScheduleDefinition =>
  defineSchedule({
    name,
    follows: 'updates',
    options: z.strictObject(options),
    create: (run, given) => schedule(name, { ...given, ...run }),
  });

const byMetric = (name: MetricSchedulerType, options: z.ZodRawShape): ScheduleDefinition =>
  defineSchedule({
    name,
    follows: 'metric',
    options: z.strictObject(options),
    create: ({ mode, learningRate }, given) =>
      metricSchedule(name, { mode, ...given, learningRate }),
  });

/** What core adds to `LearningRateSchedules`, under Hugging Face's names. */
export const builtinSchedules: readonly ScheduleDefinition[] = [
  byUpdates('linear'),
  byUpdates('cosine', { numCycles }),
  byUpdates('cosine_with_restarts', { numCycles }),
  byUpdates('cosine_with_min_lr', minimum),
  byUpdates('cosine_warmup_with_min_lr', { ...minimum, warmupLrRate }),
  byUpdates('polynomial', { power, lrEnd }),
  byUpdates('constant'),
  byUpdates('constant_with_warmup'),
  byUpdates('inverse_sqrt', { timescale }),
  byUpdates('warmup_stable_decay', {
    ...{ numDecaySteps, numStableSteps, warmupType, decayType },
    ...{ minLrRatio, numCycles },
  }),
  byMetric('reduce_lr_on_plateau', plateau),
  byMetric('greedy', {
    ...plateau,
    ...{ warmup, maxLr, smooth, windowSize, resetStart },
  }),
];

/** The schedules of a program without plugins: for arguments that are read without an Attune. */
export const coreSchedules: Registry<ScheduleDefinition> = Registry.of(
  LearningRateSchedules,
  builtinSchedules,
);
