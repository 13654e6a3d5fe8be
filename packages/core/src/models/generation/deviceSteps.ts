import { type ChoiceRules, chooseTokens, NOT_FINITE } from '../../tensor/ops/chooseTokens.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { LanguageModel } from '../languageModel.js';
import { PaddedBatch } from './paddedBatch.js';
import type { GenerationPlan } from './planGeneration.js';
import { append, numNew, type Row } from './rows.js';
import { checkLogits } from './scores.js';

/** What goes on from the first step of a generation to its last. */
export interface Walk {
  readonly model: LanguageModel;
  readonly plan: GenerationPlan;
  readonly signal: AbortSignal | undefined;
  /** Whether the time of the plan is over. */
  isLate(): boolean;
}

interface Rollout {
  /** The rows of the batch; a waiting one takes the place of one that has ended. */
  readonly slots: Row[];
  /** Rows that have not begun, in order. */
  readonly waiting: Row[];
  readonly choice: ChoiceRules;
  /** Look at each token. */
  readonly often: boolean;
}

/** Tokens of a row between two looks at them, at most; the first looks are sooner. */
const READ_EVERY = 16;

/**
 * The device chooses, and feeds itself. Several steps are recorded before the host looks at their
 * tokens; what a row wrote behind its end is thrown away. Yields, step by step, the token of every
 * row (the padding token for rows that ended before).
 */
export async function* deviceSteps(
  walk: Walk,
  { slots, waiting, choice, often }: Rollout,
): AsyncGenerator<readonly number[]> {
  const { model, plan, signal } = walk;
  const batch = new PaddedBatch(model, plan, slots.length);
  const readEvery = often ? 1 : READ_EVERY;
  let choices = new Choices(model, plan, { choice, slots, size: readEvery, draw: 0 });
  try {
    for (let draw = 0; ; ) {
      signal?.throwIfAborted();
      const going = slots.flatMap((row, r) => (row.finished ? [] : [r]));
      const left = Math.max(...going.map((r) => plan.maxNewTokens - numNew(slots[r]!)));
      // As many again as there are: an early end wastes no more than what was needed.
      const wanted = Math.min(readEvery, draw + 1, left);
      if (batch.room < wanted && waiting.length + slots.length > going.length) batch.compact(going);
      const most = Math.min(wanted, Math.max(batch.room, 1));
      let count = 0;
      do {
        choices.record(draw + count, count, () =>
          draw + count > 0 && batch.cacheServes
            ? batch.decode(choices.next)
            : batch.prefill(slots.map((row) => row.ids)),
        );
        count++;
      } while (count < most && batch.cacheServes);
      const tokens = await choices.read();
      const late = walk.isLate();
      for (let i = 0; i < count; i++)
        yield slots.map((row, r) =>
          row.finished ? plan.padTokenId : tokens.give(row, r, i, late),
        );
      draw += count;
      if (slots.every((row) => row.finished)) return;
      if (late || !batch.canTakeOver) continue;
      const taken = await takeOver(walk, choice, { slots, waiting, batch });
      if (!taken) continue;
      choices.dispose();
      choices = new Choices(model, plan, { choice, slots, size: readEvery, draw });
    }
  } finally {
    choices.dispose();
    batch.dispose();
  }
}

/**
 * Waiting rows take the places of rows that have ended, with their first token, as far as the batch
 * reaches back.
 *
 * @returns whether any did
 */
async function takeOver(
  { model, plan, isLate }: Walk,
  choice: ChoiceRules,
  { slots, waiting, batch }: { slots: Row[]; waiting: Row[]; batch: PaddedBatch },
): Promise<boolean> {
  const free = slots.flatMap((row, r) => (row.finished ? [r] : []));
  const fits = waiting.findIndex((row) => row.prompt.length > batch.length);
  const rows = waiting.splice(0, Math.min(free.length, fits < 0 ? waiting.length : fits));
  if (rows.length === 0) return false;
  const taken = free.slice(0, rows.length);
  const prompts = rows.map((row) => row.prompt);
  const others = new PaddedBatch(model, { ...plan, prompts, maxNewTokens: 1 }, rows.length);
  const choices = new Choices(model, plan, { choice, slots: rows, size: 1, draw: 0 });
  try {
    choices.record(0, 0, () => others.prefill(prompts));
    batch.takeOver(taken, others);
    const tokens = await choices.read();
    const late = isLate();
    for (const [i, row] of rows.entries()) {
      slots[taken[i]!] = row;
      tokens.give(row, i, 0, late);
    }
  } finally {
    choices.dispose();
    others.dispose();
  }
  return true;
}

interface ChoicesOptions {
  readonly choice: ChoiceRules;
  readonly slots: readonly Row[];
  /** Tokens of a row between two looks. */
  readonly size: number;
  /** Tokens that the batch has had. */
  readonly draw: number;
}

/** The tokens of a batch on the device, from which the next step reads them. */
class Choices {
  /** int32 [B, 1], the newest. */
  readonly next: Tensor;
  readonly #streams: Tensor;
  /** Tokens and their log-probabilities, [B, size, 2]. */
  readonly #report: Tensor;

  constructor(
    private readonly model: LanguageModel,
    private readonly plan: GenerationPlan,
    private readonly options: ChoicesOptions,
  ) {
    const { engine } = model;
    const { slots, size, draw } = options;
    const streams = slots.flatMap((row) => [row.stream, draw - numNew(row)]);
    const newest = slots.map((row) => row.ids.at(-1)!);
    [this.next, this.#streams, this.#report] = engine.noGrad(() =>
      engine.scope('choices', () => [
        engine.keep(engine.tensor(newest, [slots.length, 1], 'int32')),
        engine.keep(engine.tensor(streams, [slots.length, 2], 'int32')),
        engine.keep(engine.empty([slots.length, size, 2])),
      ]),
    ) as [Tensor, Tensor, Tensor];
  }

  /** Chooses from `logits()`, [B, V]; the device begins while the host records on. */
  record(draw: number, slot: number, logits: () => Tensor): void {
    const { engine } = this.model;
    const { logProbs } = this.plan;
    engine.noGrad(() =>
      engine.scope('generate', () =>
        chooseTokens(
          logits(),
          this.#streams,
          { next: this.next, report: this.#report },
          { ...this.options.choice, draw, slot, logProbs },
        ),
      ),
    );
    engine.backend.flush();
  }

  async read(): Promise<{ give(row: Row, r: number, slot: number, isLate: boolean): number }> {
    const values = await this.#report.data();
    const { plan, options } = this;
    return {
      /** Slot `slot` of row r of the batch is the next token of `row`. */
      give(row, r, slot, isLate) {
        const [token, logProb] = [0, 1].map((n) => values[(r * options.size + slot) * 2 + n]!);
        checkLogits(token === NOT_FINITE ? Number.NaN : 0, row.index, numNew(row));
        if (plan.logProbs) row.logProbs.push(logProb!);
        append(row, token!, plan, isLate);
        return token!;
      },
    };
  }

  dispose(): void {
    for (const tensor of [this.next, this.#streams, this.#report]) tensor.dispose();
  }
}
