import type { Group, Loader } from '../../dataset/loader.js';
import type { HostBatch } from '../../training/batch.js';
import { groupShape } from '../rows/groupShape.js';
import type { TrainingContext } from '../trainingContext.js';
import { noTrainingRows, type TrainingPlan } from './countUpdates.js';
import type { Throughput } from './throughput.js';

/** The batches that a run takes its updates from. */
export type TrainingLoader = Loader<unknown, HostBatch>;

/** A place in the data, counted in micro-batches from the start of an epoch. */
export interface Position {
  readonly epoch: number;
  readonly batches: number;
}

/** The place of a run in its data, and the groups of micro-batches from there on. */
export class DataCursor {
  /** Where the next group begins. */
  #position: Position = { epoch: 0, batches: 0 };
  /** The group that came last, while none of its updates is made; null: it counts as used. */
  #fresh: Group<HostBatch> | null = null;

  constructor(
    private readonly context: Pick<TrainingContext, 'args' | 'objective' | 'activity'>,
    private readonly loader: TrainingLoader,
    private readonly plan: TrainingPlan,
    private readonly throughput: Throughput,
  ) {}

  get position(): Position {
    return this.#position;
  }

  /** Epochs done, fractional. */
  get epochs(): number {
    const { epoch, batches } = this.#position;
    return epoch + batches / this.plan.batchesPerEpoch;
  }

  /** Whether the run has an epoch to begin, or to go on with. */
  get hasMore(): boolean {
    return this.#position.epoch < this.plan.numTrainEpochs;
  }

  moveTo(position: Position): void {
    this.#position = position;
  }

  /**
   * The groups of an epoch from the position on. The time that the loop waits for all but the first
   * of a run is counted: groups are ready when they are needed, unless tokenising is slower than
   * training.
   *
   * @param what names the wait, in a run that stands still
   * @throws NO_TRAINING_ROWS when an epoch has none
   */
  async *groups(what: () => string): AsyncGenerator<Group<HostBatch>> {
    const { args, objective, activity } = this.context;
    const { epoch, batches } = this.#position;
    const groups = this.loader.groups(epoch, groupShape(args, objective).batches, batches);
    try {
      while (true) {
        const asked = performance.now();
        const { done, value } = await activity.during(what(), groups.next());
        this.throughput.addWait(performance.now() - asked);
        if (done) break;
        this.#fresh = value;
        yield value;
      }
    } finally {
      await groups.return(undefined);
    }
    if (this.#position.batches === 0) throw noTrainingRows();
    this.#nextEpoch();
  }

  /**
   * The rows of the group that came last count as used: with its first update, or if it gives none.
   */
  use(): void {
    const group = this.#fresh;
    if (!group) return;
    this.#fresh = null;
    const { epoch, batches } = this.#position;
    this.#position = { epoch, batches: batches + group.microBatches };
    this.throughput.addRows(group.rows);
  }

  /** @param isGivenUp go on with the next epoch, though rows of this one are left */
  endEpoch(isGivenUp: boolean): void {
    if (isGivenUp || this.#position.batches === this.plan.batchesPerEpoch) this.#nextEpoch();
  }

  #nextEpoch(): void {
    const { epoch, batches } = this.#position;
    if (batches > 0) this.#position = { epoch: epoch + 1, batches: 0 };
  }
}
