import type { CallbackContext, Logs, TrainerCallback } from '@attune/core';
import { isTraining, type LogRow } from './alarm.js';

/** A number that makes people ask whether the run is broken, and the answer. */
interface Explanation {
  readonly id: string;
  /** Whether a row of the log shows it. */
  is(row: LogRow): boolean;
  readonly text: string;
}

/** Rounding of float32 sums, far below what people read as different from 0. */
const ZERO = 1e-4;
const isZero = (value: number | undefined) => value !== undefined && Math.abs(value) < ZERO;

const explanations: readonly Explanation[] = [
  {
    id: 'rewards/chosen',
    is: (row) => row['rewards/chosen']! < -ZERO && row['rewards/margins']! > 0,
    text: 'rewards/chosen is below 0: the chosen answers have become less likely than they were to the reference. That is normal: the loss asks for a difference, and the rejected answers fell further. Judge by rewards/margins and rewards/accuracies on unseen pairs; CollapseCallback warns where it goes too far.',
  },
  {
    id: 'loss',
    is: (row) => isZero(row.loss) && row.fracRewardZeroStd! < 1,
    text: 'the loss is 0 and the run is well: in the first update after a rollout the policy is the one that drew it, ratios are 1, and advantages of a group add up to 0. The gradient is not 0. Judge by reward, not by the loss.',
  },
  {
    id: 'kl',
    is: (row) => isZero(row.kl) || isZero(row['objective/kl']),
    text: 'the KL is 0: the model is still the reference. That is normal at the start, and it grows as the model learns.',
  },
];

/**
 * Says once, where it is first seen, why a number that looks broken is not: `rewards/chosen` below
 * 0, a loss of 0 in GRPO, a KL of 0.
 */
export class ExplanationsCallback implements TrainerCallback {
  readonly name = 'ExplanationsCallback';
  readonly firstRankOnly = true;
  #said: readonly string[] = [];

  onLog({ state, logger }: CallbackContext, logs: Logs): void {
    if (!isTraining(logs)) return;
    for (const { id, is, text } of explanations) {
      if (this.#said.includes(id) || !is(logs)) continue;
      this.#said = [...this.#said, id];
      logger.info(`at update ${state.globalStep}, ${text}`);
    }
  }

  exportState(): Record<string, unknown> {
    return { said: this.#said };
  }

  importState({ said }: Readonly<Record<string, unknown>>): void {
    this.#said = Array.isArray(said) ? said.map(String) : [];
  }
}
