import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { Position } from '../run/dataCursor.js';
import type { StepRow } from './meter.js';

/** How often a run may go back to one checkpoint: after that, other rows do not help. */
const MAX_RETURNS = 3;

/**
 * The first of the updates since the last log that was not finite ends the run. (An overflow under
 * fp16 is the loss scaler's affair, unless the loss itself is not finite.)
 *
 * @param rows of the updates loggedStep + 1, ...
 * @param positions where the rows after an update begin, of the updates of this run
 * @throws NON_FINITE with the update, and where the rows after it begin
 */
export function checkFinite(
  rows: readonly StepRow[],
  loggedStep: number,
  positions: ReadonlyMap<number, Position>,
  { nonFinite, fp16 }: TrainingArguments,
): void {
  if (nonFinite === 'skip') return;
  for (const [i, { loss, gradNorm, finite }] of rows.entries()) {
    const step = loggedStep + 1 + i;
    const position = positions.get(step);
    if (!position || (Number.isFinite(loss) && (finite || fp16))) continue;
    throw new AttuneError(
      'NON_FINITE',
      `update ${step}: its loss is ${loss} and its gradient norm ${gradNorm}.${nonFinite === 'stop' ? ` The model in memory is that after update ${step - 1}: no update since has changed it.` : ''}`,
      {
        remedy:
          'Look at the rows of this update, lower learningRate or maxGradNorm, or set nonFinite: "skip" or "rollback".',
        details: { step, loss, gradNorm, position },
      },
    );
  }
}

/**
 * So many updates after each other that the device skipped end a run: what is wrong does not pass
 * by itself.
 */
export const MAX_SKIPPED = 5;

/**
 * `nonFinite: "skip"`: one bad update is passed over, a row of them ends the run.
 *
 * @param rows of the updates loggedStep + 1, ...
 * @param before updates skipped in a row up to loggedStep
 * @returns updates skipped in a row up to the last of the rows
 * @throws NON_FINITE at the fifth; an overflow under fp16 is the loss scaler's affair and does not
 *   count
 */
export function countSkipped(
  rows: readonly StepRow[],
  loggedStep: number,
  before: number,
  { nonFinite, fp16, learningRate }: TrainingArguments,
): number {
  let skipped = before;
  for (const [i, { loss, gradNorm, finite }] of rows.entries()) {
    const isGood = Number.isFinite(loss) && (finite || fp16);
    skipped = isGood ? 0 : skipped + 1;
    if (nonFinite !== 'skip' || skipped < MAX_SKIPPED) continue;
    const step = loggedStep + 1 + i;
    throw new AttuneError(
      'NON_FINITE',
      `updates ${step - skipped + 1} to ${step} were skipped, ${skipped} in a row: their losses or gradients were not finite (the last loss is ${loss}, its gradient norm ${gradNorm}). The parameters are those of update ${step - skipped}.`,
      {
        remedy: `Likely causes: weights that are not finite (a damaged model, or an earlier run that diverged); a learningRate that is too high (${learningRate}); float16, whose range ends at 65504 (use bf16); an objective that divides by zero or takes the logarithm of it.`,
        details: { step, skipped, loss, gradNorm },
      },
    );
  }
  return skipped;
}

/** Where a run goes on. */
export interface Return {
  readonly checkpoint: string;
  readonly position: Position;
}

/**
 * `nonFinite: "rollback"`: the run goes back to its last checkpoint and on with the rows after the
 * bad update. The rows between are passed over, the good ones too: with the same rows the same
 * would happen again. Chowdhery et al. 2022 (PaLM), section 5.1, https://arxiv.org/abs/2204.02311
 */
export class Rollback {
  readonly #returns = new Map<string, number>();

  constructor(
    private readonly args: TrainingArguments,
    private readonly logger: Logger,
  ) {}

  /** @returns null where the error is another one, or other rows did not help */
  after(error: unknown, checkpoint: string | null): Return | null {
    if (this.args.nonFinite !== 'rollback' || checkpoint === null) return null;
    if (!AttuneError.isInstance(error) || error.code !== 'NON_FINITE') return null;
    const returns = (this.#returns.get(checkpoint) ?? 0) + 1;
    this.#returns.set(checkpoint, returns);
    if (returns > MAX_RETURNS) return null;
    this.logger.warn(
      `${error.description} The run goes back to ${checkpoint}; the rows since then are passed over.`,
    );
    return { checkpoint, position: error.details!.position as Position };
  }
}
