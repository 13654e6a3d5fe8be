import { checkNames } from '../util/options.js';
import {
  isImproved,
  type MetricSchedule,
  type MetricScheduleOptions,
  metricScheduleOptions,
  worst,
} from './metricSchedule.js';

/**
 * Lowers the learning rate when an evaluation metric no longer improves: after more than `patience`
 * evaluations in a row without improvement, lr = max(lr factor, minLr). As
 * torch.optim.lr_scheduler.ReduceLROnPlateau, `lrSchedulerType: "reduce_lr_on_plateau"`.
 */
export class ReduceLrOnPlateau implements MetricSchedule {
  #learningRate: number;
  #best: number;
  #bad = 0;
  #cooldown = 0;
  readonly #options: ReturnType<typeof complete>;

  /** @throws UNKNOWN_OPTION */
  constructor(options: MetricScheduleOptions) {
    checkNames(metricScheduleOptions, options, { where: 'ReduceLrOnPlateau' });
    this.#options = complete(options);
    this.#learningRate = options.learningRate;
    this.#best = worst(this.#options.mode);
  }

  get learningRate(): number {
    return this.#learningRate;
  }

  observe(metric: number): void {
    const { mode, factor, patience, threshold, thresholdMode, cooldown, minLr, eps } =
      this.#options;
    if (isImproved(metric, this.#best, mode, threshold, thresholdMode)) {
      this.#best = metric;
      this.#bad = 0;
    } else this.#bad++;
    if (this.#cooldown > 0) {
      this.#cooldown--;
      this.#bad = 0;
    }
    if (this.#bad <= patience) return;
    const lower = Math.max(this.#learningRate * factor, minLr);
    if (this.#learningRate - lower > eps) this.#learningRate = lower;
    this.#cooldown = cooldown;
    this.#bad = 0;
  }

  exportState(): Readonly<Record<string, unknown>> {
    return {
      last_lr: this.#learningRate,
      best: Number.isFinite(this.#best) ? this.#best : null,
      num_bad_epochs: this.#bad,
      cooldown_counter: this.#cooldown,
    };
  }

  importState(state: Readonly<Record<string, unknown>>): void {
    this.#learningRate = state.last_lr as number;
    this.#best = (state.best as number | null) ?? worst(this.#options.mode);
    this.#bad = state.num_bad_epochs as number;
    this.#cooldown = state.cooldown_counter as number;
  }
}

function complete(options: MetricScheduleOptions) {
  const { mode = 'min', factor = 0.1, patience = 10, threshold = 1e-4 } = options;
  const { thresholdMode = 'rel', cooldown = 0, minLr = 0, eps = 1e-8 } = options;
  return { mode, factor, patience, threshold, thresholdMode, cooldown, minLr, eps };
}
