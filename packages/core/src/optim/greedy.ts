import { checkNames } from '../util/options.js';
import {
  isImproved,
  type MetricSchedule,
  type MetricScheduleOptions,
  metricScheduleOptions,
  worst,
} from './metricSchedule.js';

interface GreedyState {
  lr: number;
  best: number;
  bad: number;
  good: number;
  cooldown: number;
  warmup: number;
  /** Reductions left at the lowest rate before it starts anew. */
  untilReset: number;
  /** The last metrics, if they are smoothed, and their sum. */
  window: number[];
  sum: number;
}

/**
 * Raises the learning rate while an evaluation metric improves and lowers it when it does not: lr /
 * factor, or lr factor, after more than `patience` evaluations of the one or the other in a row. As
 * transformers' GreedyLR (arXiv:2512.14527), `lrSchedulerType: "greedy"`.
 */
export class GreedyLr implements MetricSchedule {
  #state: GreedyState;
  readonly #options: ReturnType<typeof complete>;

  /** @throws UNKNOWN_OPTION */
  constructor(options: MetricScheduleOptions) {
    checkNames(metricScheduleOptions, options, { where: 'GreedyLr' });
    this.#options = complete(options);
    this.#state = this.#fresh();
  }

  #fresh(): GreedyState {
    const { learningRate: lr, mode, resetStart: untilReset } = this.#options;
    return {
      lr,
      best: worst(mode),
      bad: 0,
      good: 0,
      cooldown: 0,
      warmup: 0,
      untilReset,
      window: [],
      sum: 0,
    };
  }

  get learningRate(): number {
    return this.#state.lr;
  }

  observe(metric: number): void {
    const { mode, patience, threshold, thresholdMode, cooldown, warmup, smooth } = this.#options;
    const state = this.#state;
    const value = smooth ? this.#mean(metric) : metric;
    if (state.cooldown > 0 || state.warmup > 0) {
      if (state.cooldown > 0) state.cooldown--;
      else state.warmup--;
      state.bad = 0;
      state.good = 0;
      return;
    }
    if (isImproved(value, state.best, mode, threshold, thresholdMode)) {
      state.best = value;
      state.bad = 0;
      state.good++;
    } else {
      state.bad++;
      state.good = 0;
    }
    if (state.good > patience) {
      this.#raise();
      state.warmup = warmup;
      state.good = 0;
    } else if (state.bad > patience) {
      this.#lower();
      this.#state.cooldown = cooldown;
      this.#state.bad = 0;
    }
  }

  #mean(metric: number): number {
    const state = this.#state;
    state.window.push(metric);
    state.sum += metric;
    if (state.window.length > this.#options.windowSize) state.sum -= state.window.shift()!;
    return state.sum / state.window.length;
  }

  #raise(): void {
    const { factor, maxLr, eps, resetStart } = this.#options;
    const higher = Math.min(this.#state.lr / factor, maxLr);
    if (higher - this.#state.lr > eps) this.#state.lr = higher;
    this.#state.untilReset = resetStart;
  }

  #lower(): void {
    const { factor, minLr, eps } = this.#options;
    const lower = Math.max(this.#state.lr * factor, minLr);
    if (this.#state.lr - lower > eps) this.#state.lr = lower;
    if (this.#state.lr > minLr) return;
    this.#state.untilReset--;
    if (this.#state.untilReset <= 0) this.#state = this.#fresh();
  }

  exportState(): Readonly<Record<string, unknown>> {
    const { best } = this.#state;
    return {
      ...this.#state,
      window: [...this.#state.window],
      best: Number.isFinite(best) ? best : null,
    };
  }

  importState(state: Readonly<Record<string, unknown>>): void {
    const saved = state as unknown as GreedyState & { best: number | null };
    this.#state = {
      ...saved,
      window: [...saved.window],
      best: saved.best ?? worst(this.#options.mode),
    };
  }
}

function complete(options: MetricScheduleOptions) {
  const { learningRate, mode = 'min', factor = 0.95, patience = 10, threshold = 1e-6 } = options;
  const { thresholdMode = 'abs', cooldown = 0, warmup = 0, minLr = 1e-3, maxLr = 1 } = options;
  const { eps = 1e-8, smooth = false, windowSize = 50, resetStart = 500 } = options;
  return {
    ...{ learningRate, mode, factor, patience, threshold, thresholdMode, cooldown, warmup },
    ...{ minLr, maxLr, eps, smooth, windowSize, resetStart },
  };
}
