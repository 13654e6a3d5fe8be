import { prefetch, turn } from '../util/prefetch.js';
import { shuffledIndices } from './dataset.js';
import { lengthGroupedOrder } from './lengthGrouped.js';

/** Examples that are made while they are used, the same ones again for the same epoch. */
export interface ExampleStream<Example> {
  examples(epoch: number): AsyncIterable<Example>;
}

/** What is trained on: all in memory, or a stream. */
export type Examples<Example> = readonly Example[] | ExampleStream<Example>;

/** Micro-batches of one update, and how many examples are in them. */
export interface Group<Batch> {
  /** Those that have rows of this rank: of several ranks, a last one may have none. */
  readonly batches: readonly Batch[];
  /** Micro-batches of all ranks together: what a position in the data counts. */
  readonly microBatches: number;
  /** Examples of all ranks together. */
  readonly rows: number;
}

/** How a {@link Loader} makes micro-batches of examples. */
export interface LoaderOptions<Example = unknown, Batch = readonly Example[]> {
  /** Rows of a micro-batch: of each rank, where there are several. */
  readonly batchSize: number;
  /**
   * Which part of each micro-batch this rank takes: N ranks with b rows cut the data as one rank
   * with N b rows does, so that their gradients add up to that of the one. Default: the only rank.
   */
  readonly share?: { readonly rank: number; readonly worldSize: number };
  /** A fresh permutation each epoch; else the order of the rows. A stream has its own order. */
  readonly shuffle: boolean;
  readonly seed: number;
  /** Leaves out a last batch that is not full. */
  readonly dropLast: boolean;
  /** Shuffled, but with examples of about the same length together: `lengthGroupedOrder`. */
  readonly grouping?: {
    /** The length of each example. */
    readonly lengths: ArrayLike<number>;
    /** Examples of an update. */
    readonly size: number;
  };
  /** The examples of a micro-batch -> what the device takes. Default: they stay as they are. */
  readonly collate?: (examples: readonly Example[]) => Batch;
  /**
   * Groups that are made while the device works on those before them, and held until then. Default
   * 2.
   */
  readonly prefetch?: number;
}

/**
 * Examples -> micro-batches -> groups of them, collated ahead of their use. The order is a pure
 * function of the seed and the epoch: to resume is to count, nothing has to be saved.
 */
export class Loader<Example, Batch = readonly Example[]> {
  /** Micro-batches of one epoch; null: a stream's are known when it has ended. */
  readonly batchesPerEpoch: number | null;
  /** Examples of one epoch; null: a stream. */
  readonly length: number | null;

  constructor(
    private readonly source: Examples<Example>,
    private readonly options: LoaderOptions<Example, Batch>,
  ) {
    this.length = isStream(source) ? null : source.length;
    const batches = this.length === null ? null : this.length / this.#rowsOfAll;
    this.batchesPerEpoch = batches && (options.dropLast ? Math.floor(batches) : Math.ceil(batches));
  }

  /**
   * Groups of at most `groupSize` micro-batches; the last of an epoch may have fewer. What goes
   * wrong with the examples of a group is thrown in its place, after the groups before it.
   *
   * @param skipBatches micro-batches of this epoch that an interrupted run has done
   */
  groups(epoch: number, groupSize: number, skipBatches = 0): AsyncGenerator<Group<Batch>> {
    const groups = this.#groups(epoch, groupSize, skipBatches);
    return prefetch(groups, this.options.prefetch ?? 2);
  }

  /** Rows of a micro-batch of all ranks together. */
  get #rowsOfAll(): number {
    return this.options.batchSize * (this.options.share?.worldSize ?? 1);
  }

  async *#groups(epoch: number, groupSize: number, skip: number): AsyncGenerator<Group<Batch>> {
    let group: Example[][] = [];
    for await (const batch of this.batches(epoch, skip)) {
      group.push(batch);
      if (group.length < groupSize) continue;
      yield await this.#collate(group);
      group = [];
    }
    if (group.length > 0) yield await this.#collate(group);
  }

  /**
   * In a turn of the event loop of its own: one in which the host waits for the device, if it does.
   */
  async #collate(group: readonly Example[][]): Promise<Group<Batch>> {
    const { collate = (examples) => examples as Batch } = this.options;
    await turn();
    return {
      batches: group
        .map((examples) => this.#shareOf(examples))
        .filter(({ length }) => length > 0)
        .map((examples) => collate(examples)),
      microBatches: group.length,
      rows: group.reduce((n, { length }) => n + length, 0),
    };
  }

  /** Equal parts, side by side; where they cannot be equal they differ by one row. */
  #shareOf(examples: readonly Example[]): readonly Example[] {
    const { share } = this.options;
    if (!share) return examples;
    const bound = (rank: number) => Math.floor((rank * examples.length) / share.worldSize);
    return examples.slice(bound(share.rank), bound(share.rank + 1));
  }

  /**
   * Every micro-batch of an epoch, of all ranks together.
   *
   * @param skip how many of them to leave out at its beginning
   */
  async *batches(epoch = 0, skip = 0): AsyncGenerator<Example[]> {
    const { dropLast } = this.options;
    const batchSize = this.#rowsOfAll;
    let batch: Example[] = [];
    let index = 0;
    for await (const example of this.#examples(epoch)) {
      batch.push(example);
      if (batch.length < batchSize) continue;
      if (index++ >= skip) yield batch;
      batch = [];
    }
    if (batch.length > 0 && !dropLast && index >= skip) yield batch;
  }

  async *#examples(epoch: number): AsyncGenerator<Example> {
    const { source } = this;
    if (isStream(source)) yield* source.examples(epoch);
    else for (const i of this.#order(epoch, source.length)) yield source[i]!;
  }

  #order(epoch: number, length: number): Iterable<number> {
    const { shuffle, seed, grouping } = this.options;
    if (!shuffle) return Array(length).keys();
    const permutation = shuffledIndices(length, seed, epoch);
    return grouping
      ? lengthGroupedOrder(permutation, grouping.lengths, grouping.size)
      : permutation;
  }
}

export const isStream = <Example>(source: Examples<Example>): source is ExampleStream<Example> =>
  !Array.isArray(source);

/** What tells how examples are: all that are in memory, the first thousand of a stream. */
export const sampleExamples = async <Example>(
  source: Examples<Example>,
): Promise<readonly Example[]> => (isStream(source) ? firstExamples(source, 1000) : source);

/**
 * The first `count` examples, as they are trained on: without an order, before a stream's epoch 0.
 */
export async function firstExamples<Example>(
  source: Examples<Example>,
  count: number,
): Promise<Example[]> {
  if (!isStream(source)) return source.slice(0, count);
  const first: Example[] = [];
  if (count === 0) return first;
  for await (const example of source.examples(0)) if (first.push(example) === count) break;
  return first;
}
