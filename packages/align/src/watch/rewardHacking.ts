import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { Alarm, change, type Finding, type LogRow, shown, WINDOW } from './alarm.js';

const shape = {
  /**
   * KL of an answer to the reference, nats summed over its tokens, beyond which a rising reward is
   * doubted. Default 18: three times the 6 that TRL's adaptive controller aims at. A useful run on
   * answers of 24 tokens ends near 9.
   */
  klBudget: z.number().positive().default(18).meta({ aka: 'kl targetkl' }),
  /**
   * Growth of the mean length of answers beyond which a rising reward is doubted. Default 1.5.
   */
  lengthGrowth: z.number().gt(1).default(1.5).meta({ aka: 'length' }),
  /**
   * How much the reward must have risen, in deviations of the first rewards (`rewardStd`), or as a
   * share of the first reward where none is logged. Default 0.1.
   */
  rewardRise: z.number().min(0).default(0.1),
};
const options = z.strictObject(shape);

/** Options of {@link RewardHackingCallback}. */
export type RewardHackingOptions = OptionsInput<typeof shape>;

/**
 * Warns where the reward rises and something says that the answers are not better for it:
 *
 * - `objective/kl`, of an answer, is above `klBudget`;
 * - answers are `lengthGrowth` times as long as they were (`completions/mean_length`);
 * - the weighted sum of several reward functions rises while one of them falls by more than its
 *   deviation (`rewards/<name>/mean`).
 *
 * @see arXiv 2210.10760: the true reward falls from some KL on, while that of the model rises
 */
export class RewardHackingCallback extends Alarm {
  readonly name = 'RewardHackingCallback';
  readonly #options: z.output<typeof options>;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: RewardHackingOptions = {}) {
    super();
    this.#options = parseOptions(options, given, { where: 'RewardHackingCallback' });
  }

  protected look(rows: readonly LogRow[]): Finding | null {
    const name = ['reward', 'objective/scores'].find((metric) => change(rows, metric));
    const reward = name && change(rows, name);
    if (!reward) return null;
    const unit = change(rows, 'rewardStd')?.first || Math.abs(reward.first);
    const rise = reward.last - reward.first;
    if (!(rise > this.#options.rewardRise * unit)) return null;
    const risen = `the mean reward rose from ${shown(reward.first)} to ${shown(reward.last)}`;
    return this.#byKl(rows, risen) ?? this.#byLength(rows, risen) ?? byFunction(rows, risen);
  }

  #byKl(rows: readonly LogRow[], risen: string): Finding | null {
    const kl = change(rows, 'objective/kl')?.last;
    if (kl === undefined || kl <= this.#options.klBudget) return null;
    return {
      seen: `${risen} while the KL to the reference grew to ${shown(kl)} nats an answer, above the budget of ${this.#options.klBudget}.`,
      why: 'So far from the reference, a reward is often earned by what it measures badly.',
      remedy:
        'Read the answers (logCompletions: true). Raise the weight of the KL (beta; klCoef of PPO), lower learningRate, or stop at an earlier checkpoint.',
    };
  }

  #byLength(rows: readonly LogRow[], risen: string): Finding | null {
    const length = change(rows, 'completions/mean_length');
    if (!length || length.last < this.#options.lengthGrowth * length.first) return null;
    return {
      seen: `${risen} while answers grew from ${shown(length.first)} to ${shown(length.last)} tokens.`,
      why: 'Rewards, those of reward models above all, often rise with length alone.',
      remedy:
        'Read the answers (logCompletions: true). Add a reward function that takes something off for length, or divide the reward by it; lossType: "dr_grpo" of GRPO does not favour long answers.',
    };
  }
}

/** One reward function paid for the others. */
function byFunction(rows: readonly LogRow[], risen: string): Finding | null {
  const names = Object.keys(rows.at(-1)!).flatMap(
    (key) => /^rewards\/(?<name>.+)\/mean$/.exec(key)?.groups?.name ?? [],
  );
  if (names.length < 2) return null;
  for (const name of names) {
    const reward = change(rows, `rewards/${name}/mean`);
    const deviation = change(rows, `rewards/${name}/std`);
    if (!reward || !deviation) continue;
    if (!(reward.first - reward.last > deviation.first)) continue;
    return {
      seen: `${risen} while that of "${name}" fell from ${shown(reward.first)} to ${shown(reward.last)}, over the last ${WINDOW} rows of the log.`,
      why: 'The other reward functions are earned at its cost.',
      remedy: `Raise its entry of rewardWeights, or set multiObjectiveAggregation: "normalize_then_sum" of GRPO, which compares each function by itself.`,
    };
  }
  return null;
}
