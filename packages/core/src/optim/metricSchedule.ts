import { z } from 'zod';
import type { OptionsInput } from '../util/options.js';

/** Schedules that follow an evaluation metric instead of counting updates. */
export type MetricSchedulerType = 'reduce_lr_on_plateau' | 'greedy';

const startShape = {
  /** The rate at the start. */
  learningRate: z.number(),
};

/** What schedules that look at a metric take. */
export const metricScheduleShape = {
  /** Whether less ("min") or more ("max") of the metric is better. Default "min". */
  mode: z.enum(['min', 'max']).optional(),
  /**
   * What the rate is multiplied by when the metric stays where it is; below 1. Default 0.1; greedy
   * 0.95.
   */
  factor: z.number().positive().lt(1).optional(),
  /** Evaluations in a row without an improvement that are borne. Default 10. */
  patience: z.number().min(0).optional(),
  /** Least improvement that counts. Default 1e-4; greedy 1e-6. */
  threshold: z.number().min(0).optional(),
  /**
   * Whether the threshold is a share of the best value ("rel") or a difference ("abs"). Default
   * "rel"; greedy "abs".
   */
  thresholdMode: z.enum(['rel', 'abs']).optional(),
  /** Evaluations after a reduction that do not count. Default 0. */
  cooldown: z.number().min(0).optional(),
  /** Lowest rate of reduce_lr_on_plateau and greedy. Default 0; greedy 1e-3. */
  minLr: z.number().optional(),
  /** A change of the rate smaller than this is left out. Default 1e-8. */
  eps: z.number().min(0).optional(),
  /** greedy: evaluations after a rise that do not count. Default 0. */
  warmup: z.number().min(0).optional(),
  /** greedy: highest rate. Default 1. */
  maxLr: z.number().optional(),
  /** greedy: take the mean of the last `windowSize` values for the metric. Default false. */
  smooth: z.boolean().optional(),
  /** greedy: values in the mean of `smooth`. Default 50. */
  windowSize: z.number().min(1).optional(),
  /** greedy: reductions at the lowest rate after which it starts anew. Default 500. */
  resetStart: z.number().min(1).optional(),
};
export const metricScheduleOptions = z.strictObject({ ...startShape, ...metricScheduleShape });

/** Options of a schedule that looks at a metric. */
export type MetricScheduleOptions = OptionsInput<typeof startShape> &
  OptionsInput<typeof metricScheduleShape>;

/** A learning rate that changes when an evaluation has spoken. Its state goes into checkpoints. */
export interface MetricSchedule {
  /** The rate of the next update. */
  readonly learningRate: number;
  /** The metric of an evaluation. */
  observe(metric: number): void;
  exportState(): Readonly<Record<string, unknown>>;
  importState(state: Readonly<Record<string, unknown>>): void;
}

/** Whether `value` is better than `best` by more than the threshold. */
export function isImproved(
  value: number,
  best: number,
  mode: 'min' | 'max',
  threshold: number,
  thresholdMode: 'rel' | 'abs',
): boolean {
  const sign = mode === 'min' ? -1 : 1;
  const bar = thresholdMode === 'rel' ? best * (1 + sign * threshold) : best + sign * threshold;
  return mode === 'min' ? value < bar : value > bar;
}

/** The worst value there is. JSON has no infinity: in a checkpoint it is null. */
export const worst = (mode: 'min' | 'max'): number =>
  mode === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
