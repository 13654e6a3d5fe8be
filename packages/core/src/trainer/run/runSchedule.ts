import type { MetricSchedule } from '../../optim/metricSchedule.js';
import {
  isMetricScheduler,
  metricSchedule,
  resolveWarmupSteps,
  type Schedule,
  schedule,
} from '../../optim/schedulers.js';
import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { EvalMetrics } from '../../training/callback.js';

/** The learning rate of a run: a function of the updates done, or of the evaluations so far. */
export class RunSchedule {
  readonly #byStep: Schedule | null;
  readonly #byMetric: MetricSchedule | null;

  /**
   * @param chosen a schedule of the caller's, instead of that of `lrSchedulerType`
   * @throws SCHEDULE_INVALID
   */
  constructor(
    private readonly args: TrainingArguments,
    totalSteps: number,
    chosen: Schedule | null,
  ) {
    const { lrSchedulerType: type, lrSchedulerKwargs, learningRate } = args;
    if (!chosen && isMetricScheduler(type)) {
      const mode = args.greaterIsBetter ? 'max' : 'min';
      this.#byStep = null;
      this.#byMetric = metricSchedule(type, { mode, ...lrSchedulerKwargs, learningRate });
      return;
    }
    const warmupSteps = resolveWarmupSteps(args, totalSteps);
    const options = { ...lrSchedulerKwargs, warmupSteps, totalSteps, learningRate };
    this.#byMetric = null;
    this.#byStep = chosen ?? (isMetricScheduler(type) ? null : schedule(type, options));
  }

  /** @param step updates done so far */
  rate(step: number): number {
    return this.#byStep
      ? this.args.learningRate * this.#byStep(step)
      : this.#byMetric!.learningRate;
  }

  /** An evaluation: a schedule that follows `metricForBestModel` takes note. */
  observe(metrics: EvalMetrics): void {
    this.#byMetric?.observe(metrics[this.args.metricForBestModel!]!);
  }

  exportState(): Readonly<Record<string, unknown>> | undefined {
    return this.#byMetric?.exportState();
  }

  importState(state: unknown): void {
    if (state) this.#byMetric?.importState(state as Readonly<Record<string, unknown>>);
  }
}
