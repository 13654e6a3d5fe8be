import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { Alarm, type Finding, type LogRow, meanOver, percent, shown, WINDOW } from './alarm.js';

const shape = {
  /** Share of groups without spread from which on it warns. Default 0.5: most of them. */
  share: z.number().min(0).max(1).default(0.5).meta({ aka: 'threshold' }),
};
const options = z.strictObject(shape);

/** Options of {@link NoSpreadCallback}. */
export type NoSpreadOptions = OptionsInput<typeof shape>;

/**
 * Warns where in most groups all completions of a prompt have the same reward
 * (`fracRewardZeroStd`, TRL's `frac_reward_zero_std`). Such a group has advantages of 0 and teaches
 * nothing.
 *
 * @see arXiv 2503.14476
 */
export class NoSpreadCallback extends Alarm {
  readonly name = 'NoSpreadCallback';
  readonly #share: number;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: NoSpreadOptions = {}) {
    super();
    this.#share = parseOptions(options, given, { where: 'NoSpreadCallback' }).share;
  }

  protected look(rows: readonly LogRow[]): Finding | null {
    if (rows.length < WINDOW) return null;
    const last = rows.slice(-WINDOW);
    const share = meanOver(last, 'fracRewardZeroStd');
    if (share === null || !(share > this.#share)) return null;
    const reward = meanOver(last, 'reward');
    return {
      seen: `in ${percent(share)} of the groups all completions have the same reward${reward === null ? '' : `, ${shown(reward)} on average`}.`,
      why: 'Completions of a prompt are compared with each other: where all are equally good, or equally bad, there is nothing to learn.',
      remedy:
        'Where all fail: easier prompts, a reward that gives a part for a part, more completions of each prompt (numGenerations), a higher temperature. Where all succeed: harder prompts, or the run is over.',
    };
  }
}
