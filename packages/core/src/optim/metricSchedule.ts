/** Schedules that follow an evaluation metric instead of counting updates. */
export type MetricSchedulerType = 'reduce_lr_on_plateau' | 'greedy';

/** Options of a schedule that looks at a metric. */
export interface MetricScheduleOptions {
  /** The rate at the start. */
  readonly learningRate: number;
  /** Whether less ("min") or more ("max") of the metric is better. Default "min". */
  readonly mode?: 'min' | 'max' | undefined;
  /**
   * What the rate is multiplied by when the metric stays where it is; below 1. Default 0.1; greedy
   * 0.95.
   */
  readonly factor?: number | undefined;
  /** Evaluations in a row without an improvement that are borne. Default 10. */
  readonly patience?: number | undefined;
  /** Least improvement that counts. Default 1e-4; greedy 1e-6. */
  readonly threshold?: number | undefined;
  /**
   * Whether the threshold is a share of the best value ("rel") or a difference ("abs"). Default
   * "rel"; greedy "abs".
   */
  readonly thresholdMode?: 'rel' | 'abs' | undefined;
  /** Evaluations after a reduction that do not count. Default 0. */
  readonly cooldown?: number | undefined;
  /** Lowest rate of reduce_lr_on_plateau and greedy. Default 0; greedy 1e-3. */
  readonly minLr?: number | undefined;
  /** A change of the rate smaller than this is left out. Default 1e-8. */
  readonly eps?: number | undefined;
  /** greedy: evaluations after a rise that do not count. Default 0. */
  readonly warmup?: number | undefined;
  /** greedy: highest rate. Default 1. */
  readonly maxLr?: number | undefined;
  /** greedy: take the mean of the last `windowSize` values for the metric. Default false. */
  readonly smooth?: boolean | undefined;
  /** greedy: values in the mean of `smooth`. Default 50. */
  readonly windowSize?: number | undefined;
  /** greedy: reductions at the lowest rate after which it starts anew. Default 500. */
  readonly resetStart?: number | undefined;
}

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
