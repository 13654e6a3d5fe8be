import type { z } from 'zod';
import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import type { MetricSchedule } from './metricSchedule.js';

/** Updates done so far -> factor on the learning rate of the next update. */
export type Schedule = (step: number) => number;

/** What a run tells the schedule that it makes. */
export interface ScheduleRun {
  /** Highest rate: what the factor multiplies. */
  readonly learningRate: number;
  /** Updates of warmup that the user asked for. */
  readonly warmupSteps: number;
  /** Updates in the whole run. */
  readonly totalSteps: number;
}

/** What a run tells a schedule that follows a metric. */
export interface MetricScheduleRun {
  /** The rate at the start. */
  readonly learningRate: number;
  /** Whether less ("min") or more ("max") of the metric is better. */
  readonly mode: 'min' | 'max';
}

interface ScheduleBase {
  /** What `lrSchedulerType` calls it. */
  readonly name: string;
  /** Checks and completes `lrSchedulerKwargs`, camelCase: a z.strictObject. */
  readonly options: z.ZodObject;
}

/** A rate that is a function of the updates done. */
export interface StepScheduleDefinition<Options = Readonly<Record<string, unknown>>>
  extends ScheduleBase {
  readonly follows: 'updates';
  create(run: ScheduleRun, options: Options): Schedule;
}

/** A rate that `metricForBestModel` moves. Its state goes into checkpoints. */
export interface MetricScheduleDefinition<Options = Readonly<Record<string, unknown>>>
  extends ScheduleBase {
  readonly follows: 'metric';
  create(run: MetricScheduleRun, options: Options): MetricSchedule;
}

/**
 * A learning-rate schedule as `lrSchedulerType` finds it by name. A plugin adds one with
 * `context.add(LearningRateSchedules, defineSchedule({ ... }))`; the built-in ones come in the same
 * way.
 */
export type ScheduleDefinition = StepScheduleDefinition | MetricScheduleDefinition;

/** Types a schedule where it is written: `options` of `create` are what the schema gives. */
export function defineSchedule<S extends z.ZodObject>(
  definition: StepScheduleDefinition<z.output<S>> & { readonly options: S },
): StepScheduleDefinition;
export function defineSchedule<S extends z.ZodObject>(
  definition: MetricScheduleDefinition<z.output<S>> & { readonly options: S },
): MetricScheduleDefinition;
export function defineSchedule(definition: unknown): ScheduleDefinition {
  return definition as ScheduleDefinition;
}

/**
 * What `lrSchedulerType` may name: `context.add(LearningRateSchedules, defineSchedule({ ... }))`.
 */
export const LearningRateSchedules: ExtensionPoint<ScheduleDefinition> = extensionPoint(
  'learning-rate schedule',
  (definition) => definition.name,
);
