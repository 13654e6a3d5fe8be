import { z } from 'zod';
import type { CallbackContext, EvalMetrics, TrainerCallback } from '../training/callback.js';
import { brief } from '../util/brief.js';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';

const earlyStoppingShape = {
  /** Stop after this many evaluations in a row without improvement. Default 1. */
  earlyStoppingPatience: z
    .int('expected a whole number of at least 1: it counts evaluations')
    .min(1, 'expected a whole number of at least 1: it counts evaluations')
    .default(1)
    .meta({ aka: 'patience' }),
  /** An improvement must be larger than this, in units of the metric. Default 0. */
  earlyStoppingThreshold: z.number().default(0).meta({ aka: 'threshold' }),
};
const earlyStoppingOptions = z.strictObject(earlyStoppingShape);

/** Options of {@link EarlyStoppingCallback}, as in transformers. */
export type EarlyStoppingOptions = OptionsInput<typeof earlyStoppingShape>;

const metricNote = 'args: { metricForBestModel, greaterIsBetter } say which metric counts';

/**
 * Ends a run when `metricForBestModel` has stopped improving, as transformers'
 * EarlyStoppingCallback. The counter is part of a checkpoint.
 *
 * It needs `evalStrategy` and `metricForBestModel`, which `loadBestModelAtEnd` sets to the loss.
 */
export class EarlyStoppingCallback implements TrainerCallback {
  readonly name = 'EarlyStoppingCallback';
  readonly #patience: number;
  readonly #threshold: number;
  #counter = 0;

  /** @throws UNKNOWN_OPTION, EARLY_STOPPING */
  constructor(options: EarlyStoppingOptions = {}) {
    const { earlyStoppingPatience, earlyStoppingThreshold } = parseOptions(
      earlyStoppingOptions,
      options,
      {
        where: 'EarlyStoppingCallback',
        code: 'EARLY_STOPPING',
        notes: { metric: metricNote, monitor: metricNote, mode: metricNote },
      },
    );
    this.#patience = earlyStoppingPatience;
    this.#threshold = earlyStoppingThreshold;
  }

  /** Evaluations in a row without improvement. */
  get counter(): number {
    return this.#counter;
  }

  onTrainBegin({ args }: CallbackContext): void {
    if (args.evalStrategy === 'no')
      throw new AttuneError('EARLY_STOPPING', 'early stopping needs evaluations to judge by.', {
        remedy:
          'Set evalStrategy: "steps" with evalSteps, or "epoch", and give an evalDataset or evaluationTasks.',
      });
    if (args.metricForBestModel === null)
      throw new AttuneError('EARLY_STOPPING', 'early stopping needs a metric to judge by.', {
        remedy: 'Set loadBestModelAtEnd: true, or metricForBestModel: "loss".',
      });
  }

  onEvaluate({ args, state, control, logger }: CallbackContext, metrics: EvalMetrics): void {
    const name = args.metricForBestModel ?? 'evalLoss';
    const value = metrics[name];
    if (value === undefined) return;
    // state.bestMetric is still the one before this evaluation: the Trainer updates it afterwards.
    const { bestMetric } = state;
    const gain =
      bestMetric === null
        ? Number.POSITIVE_INFINITY
        : args.greaterIsBetter
          ? value - bestMetric
          : bestMetric - value;
    this.#counter = gain > 0 && gain > this.#threshold ? 0 : this.#counter + 1;
    if (this.#counter < this.#patience) return;
    control.shouldTrainingStop = true;
    logger.info(
      `early stopping at step ${state.globalStep}: ${name} ${brief(value)} has not improved on ${bestMetric === null ? 'nothing' : brief(bestMetric)} for ${this.#counter} evaluations`,
    );
  }

  exportState(): Record<string, unknown> {
    return {
      args: {
        early_stopping_patience: this.#patience,
        early_stopping_threshold: this.#threshold,
      },
      attributes: { early_stopping_patience_counter: this.#counter },
    };
  }

  importState(state: Readonly<Record<string, unknown>>): void {
    const { attributes } = state as { attributes?: { early_stopping_patience_counter?: number } };
    this.#counter = attributes?.early_stopping_patience_counter ?? 0;
  }
}
