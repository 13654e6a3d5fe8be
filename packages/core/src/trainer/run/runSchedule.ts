import type { MetricSchedule } from '../../optim/metricSchedule.js';
import type { Schedule, ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import { resolveWarmupSteps } from '../../optim/schedulers.js';
import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { EvalMetrics } from '../../training/callback.js';

/** The learning rate of a run: a function of the updates done, or of the evaluations so far. */
export class RunSchedule {
  readonly #byStep: Schedule | null;
  readonly #byMetric: MetricSchedule | null;

  /**
   * @param chosen that of `lrSchedulerType`, or a function of the caller's
   * @throws SCHEDULE_INVALID
   */
  constructor(
    private readonly args: TrainingArguments,
    totalSteps: number,
    chosen: Schedule | ScheduleDefinition,
  ) {
    const { lrSchedulerKwargs, learningRate } = args;
    if (typeof chosen === 'function') {
      this.#byStep = chosen;
      this.#byMetric = null;
    } else if (chosen.follows === 'metric') {
      const mode = args.greaterIsBetter ? 'max' : 'min';
      this.#byStep = null;
      this.#byMetric = chosen.create({ mode, learningRate }, lrSchedulerKwargs);
    } else {
      const warmupSteps = resolveWarmupSteps(args, totalSteps);
      this.#byStep = chosen.create({ warmupSteps, totalSteps, learningRate }, lrSchedulerKwargs);
      this.#byMetric = null;
    }
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
