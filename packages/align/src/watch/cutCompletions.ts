import type { CallbackContext } from '@attune/core';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { Alarm, type Finding, type LogRow, meanOver, percent, WINDOW } from './alarm.js';

const shape = {
  /** Share of completions without an end from which on it warns. Default 0.5: most of them. */
  share: z.number().min(0).max(1).default(0.5).meta({ aka: 'threshold' }),
};
const options = z.strictObject(shape);

/** Options of {@link CutCompletionsCallback}. */
export type CutCompletionsOptions = OptionsInput<typeof shape>;

/** Warns where most completions are cut off at their longest (`completions/clipped_ratio`). */
export class CutCompletionsCallback extends Alarm {
  readonly name = 'CutCompletionsCallback';
  readonly #share: number;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: CutCompletionsOptions = {}) {
    super();
    this.#share = parseOptions(options, given, { where: 'CutCompletionsCallback' }).share;
  }

  protected look(rows: readonly LogRow[], { args }: CallbackContext): Finding | null {
    if (rows.length < WINDOW) return null;
    const share = meanOver(rows.slice(-WINDOW), 'completions/clipped_ratio');
    if (share === null || !(share > this.#share)) return null;
    const own = args as unknown as Readonly<Record<string, unknown>>;
    const name = own.maxNewTokens === undefined ? 'maxCompletionLength' : 'maxNewTokens';
    return {
      seen: `${percent(share)} of the completions have no end: they are cut off at ${name}${typeof own[name] === 'number' ? `, ${own[name]} tokens` : ''}.`,
      why: 'Their rewards are those of unfinished answers, and the model is not taught to end.',
      remedy: `Raise ${name}; ask for short answers; see that generation_config.json names the token that ends an answer. maskTruncatedCompletions: true (GRPO, RLOO) leaves them out of the loss, missingEosPenalty (PPO) takes something off their score.`,
    };
  }
}
