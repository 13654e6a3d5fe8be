import { rankSeed } from '../../distributed/exchange.js';
import { computeDTypeOf } from '../../training/arguments/trainingArguments.js';
import type { HostBatch } from '../../training/batch.js';
import { type Update, updatesOf } from '../../training/updates.js';
import type { TrainingRun } from '../run/trainingRun.js';
import type { TrainingContext } from '../trainingContext.js';

/** The updates that the objective makes of one group, asked for one by one. */
export class GroupUpdates implements AsyncDisposable {
  readonly #updates: AsyncIterator<Update>;

  constructor(
    private readonly context: TrainingContext,
    private readonly run: TrainingRun,
    batches: readonly HostBatch[],
  ) {
    const { model, objective, args, stop, logger, ranks } = context;
    const updates = updatesOf(objective, batches, {
      model,
      step: run.state.globalStep + 1,
      seed: rankSeed(args.seed, ranks?.rank ?? 0), // each rank samples for itself
      use: 'training',
      signal: stop.signal,
      computeDType: computeDTypeOf(args),
      logger,
    });
    this.#updates = updates[Symbol.asyncIterator]();
  }

  /** @returns null when there are no more, or the run is to end before the next one is there */
  async next(): Promise<Update | null> {
    const { activity, objective, stop } = this.context;
    const waits = `objective "${objective.name}" in updates, of update ${this.run.state.globalStep + 1}`;
    try {
      const { done, value } = await activity.during(waits, this.#updates.next());
      return done ? null : value;
    } catch (error) {
      if (stop.signal.aborted && error === stop.signal.reason) return null;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#updates.return?.();
  }
}
