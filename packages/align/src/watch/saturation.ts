import type { CallbackContext } from '@attune/core';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { Alarm, type Finding, type LogRow, percent, shown } from './alarm.js';

const shape = {
  /** Share of pairs in the right order from which on little is left to learn. Default 0.99. */
  accuracy: z.number().min(0).max(1).default(0.99).meta({ aka: 'accuracies' }),
  /** Loss below which there is little left to learn, nats a pair. Default 0.05. */
  loss: z.number().default(0.05),
  /** The part of the run that is looked at. Default 0.1: its first tenth. */
  share: z.number().gt(0).max(1).default(0.1),
};
const options = z.strictObject(shape);

/** Options of {@link SaturationCallback}. */
export type SaturationOptions = OptionsInput<typeof shape>;

/**
 * Warns where the pairs are told apart almost at once: `rewards/accuracies` and `loss` are past
 * their thresholds within the first tenth of the run.
 */
export class SaturationCallback extends Alarm {
  readonly name = 'SaturationCallback';
  readonly #options: z.output<typeof options>;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: SaturationOptions = {}) {
    super();
    this.#options = parseOptions(options, given, { where: 'SaturationCallback' });
  }

  protected look(rows: readonly LogRow[], { state }: CallbackContext): Finding | null {
    const { accuracy, loss, share } = this.#options;
    const row = rows.at(-1)!;
    const accuracies = row['rewards/accuracies'];
    if (state.globalStep > share * state.maxSteps || accuracies === undefined) return null;
    if (accuracies < accuracy || row.loss! >= loss) return null;
    return {
      seen: `${percent(accuracies)} of the pairs are in the right order with a loss of ${shown(row.loss!)} after ${state.globalStep} of ${state.maxSteps} updates.`,
      why: 'The pairs differ in something that is easy to see, such as length, format or language, or the same pairs were seen before.',
      remedy:
        'Look at some pairs beside each other, and take those out that a rule could tell apart; compare with unseen pairs (evalDataset). Otherwise lower learningRate and numTrainEpochs.',
    };
  }
}
