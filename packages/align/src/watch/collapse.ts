import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { Alarm, change, type Finding, type LogRow, percent, shown } from './alarm.js';

const shape = {
  /**
   * How far log p of the chosen answers may fall, as a share of what it was. Default 0.2: from -50
   * to -60 nats.
   */
  fall: z.number().positive().default(0.2).meta({ aka: 'share threshold' }),
};
const options = z.strictObject(shape);

/** Options of {@link CollapseCallback}. */
export type CollapseOptions = OptionsInput<typeof shape>;

/**
 * Warns where `logps/chosen` falls by more than a share `fall` while `rewards/margins` grows: pairs
 * are told apart better and better, and the good answers become unlikely, too. A small fall is
 * normal.
 *
 * @see arXiv 2402.13228
 */
export class CollapseCallback extends Alarm {
  readonly name = 'CollapseCallback';
  readonly #fall: number;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: CollapseOptions = {}) {
    super();
    this.#fall = parseOptions(options, given, { where: 'CollapseCallback' }).fall;
  }

  protected look(rows: readonly LogRow[]): Finding | null {
    const chosen = change(rows, 'logps/chosen');
    const margins = change(rows, 'rewards/margins');
    if (!chosen || !margins || margins.last <= margins.first) return null;
    const fall = (chosen.first - chosen.last) / Math.abs(chosen.first);
    if (!(fall > this.#fall)) return null;
    return {
      seen: `logps/chosen fell from ${shown(chosen.first)} to ${shown(chosen.last)} nats, by ${percent(fall)}, while rewards/margins grew from ${shown(margins.first)} to ${shown(margins.last)}.`,
      why: 'The loss asks for a difference alone: it can push both answers down, and what the model then writes is neither.',
      remedy:
        'Learn the chosen answers, too (DPO: lossType: ["sigmoid", "sft"], lossWeights: [1, 0.5]; CPO and SimPO: cpoAlpha), lower learningRate, raise beta, or stop earlier.',
    };
  }
}
