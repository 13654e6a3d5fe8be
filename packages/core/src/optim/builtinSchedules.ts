import { z } from 'zod';
import { Registry } from '../di/registry.js';
import type { MetricSchedulerType } from './metricSchedule.js';
import {
  defineSchedule,
  LearningRateSchedules,
  type ScheduleDefinition,
} from './scheduleDefinition.js';
import { metricSchedule, type StepSchedulerType, schedule } from './schedulers.js';

const number = z.number();
const ramp = z.enum(['linear', 'cosine', '1-sqrt']);
const numCycles = number;
const minimum = { numCycles, minLr: number, minLrRate: number };
const plateau = {
  mode: z.enum(['min', 'max']),
  factor: number.positive().lt(1),
  patience: number.min(0),
  threshold: number.min(0),
  thresholdMode: z.enum(['rel', 'abs']),
  cooldown: number.min(0),
  minLr: number,
  eps: number.min(0),
};

const byUpdates = (name: StepSchedulerType, options: z.ZodRawShape = {}): ScheduleDefinition =>
  defineSchedule({
    name,
    follows: 'updates',
    options: z.strictObject(options).partial(),
    create: (run, given) => schedule(name, { ...given, ...run }),
  });

const byMetric = (name: MetricSchedulerType, options: z.ZodRawShape): ScheduleDefinition =>
  defineSchedule({
    name,
    follows: 'metric',
    options: z.strictObject(options).partial(),
    create: ({ mode, learningRate }, given) =>
      metricSchedule(name, { mode, ...given, learningRate }),
  });

/** What core adds to `LearningRateSchedules`, under Hugging Face's names. */
export const builtinSchedules: readonly ScheduleDefinition[] = [
  byUpdates('linear'),
  byUpdates('cosine', { numCycles }),
  byUpdates('cosine_with_restarts', { numCycles }),
  byUpdates('cosine_with_min_lr', minimum),
  byUpdates('cosine_warmup_with_min_lr', { ...minimum, warmupLrRate: number }),
  byUpdates('polynomial', { power: number, lrEnd: number }),
  byUpdates('constant'),
  byUpdates('constant_with_warmup'),
  byUpdates('inverse_sqrt', { timescale: number }),
  byUpdates('warmup_stable_decay', {
    ...{ numDecaySteps: number, numStableSteps: number, warmupType: ramp, decayType: ramp },
    ...{ minLrRatio: number, numCycles },
  }),
  byMetric('reduce_lr_on_plateau', plateau),
  byMetric('greedy', {
    ...plateau,
    ...{ warmup: number.min(0), maxLr: number, smooth: z.boolean(), windowSize: number.min(1) },
    resetStart: number.min(1),
  }),
];

/** The schedules of a program without plugins: for arguments that are read without an Attune. */
export const coreSchedules: Registry<ScheduleDefinition> = Registry.of(
  LearningRateSchedules,
  builtinSchedules,
);
