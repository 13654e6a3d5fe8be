import { z } from 'zod';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { Rng } from '../util/rng.js';
import type { Row } from './dataset.js';

/** A row and what messages call it. */
export interface OriginRow<R> {
  readonly row: R;
  readonly origin: string;
}

/** Stream number of the shuffle buffer: beside those of shuffles in memory. */
const BUFFER_STREAM = 0x5b0f;

/**
 * Rows that are read while they are used and never held all at once. It never changes: every method
 * returns a new one. Nothing is read before it is iterated.
 *
 * Iterating starts from the beginning each time. So the same rows come in each epoch, and a resumed
 * run skips those that it has had.
 *
 * @example (await loadDataset('json', { dataFiles: 'train.jsonl', streaming: true })).shuffle(42).take(10_000)
 */
export class IterableDataset<R = Row> implements AsyncIterable<R> {
  readonly #open: (epoch: number) => AsyncIterable<OriginRow<R>>;

  private constructor(open: (epoch: number) => AsyncIterable<OriginRow<R>>) {
    this.#open = open;
  }

  /**
   * @param open starts from the first row at each call: `() => rows()` with a generator function
   * @param origin what error messages call a row: "rows" gives "rows[3]"
   * @throws STREAM_SOURCE when `open` is not a function
   */
  static from<R = Row>(
    open: () => AsyncIterable<R> | Iterable<R>,
    origin = 'rows',
  ): IterableDataset<R> {
    if (typeof open !== 'function')
      throw new AttuneError('STREAM_SOURCE', 'a stream of rows must be able to start again.', {
        remedy: 'Pass a function that returns the rows from the first on, e.g. () => readRows().',
      });
    return new IterableDataset(async function* () {
      let i = 0;
      for await (const row of open()) yield { row, origin: `${origin}[${i++}]` };
    });
  }

  /** As `from`, of rows that know where they came from; they may differ from epoch to epoch. */
  static fromPlaced<R = Row>(
    open: (epoch: number) => AsyncIterable<OriginRow<R>>,
  ): IterableDataset<R> {
    return new IterableDataset(open);
  }

  /** The rows of an epoch with their origins. Only `shuffle` makes epochs differ. */
  rows(epoch = 0): AsyncIterable<OriginRow<R>> {
    return this.#open(epoch);
  }

  map<S>(fn: (row: R, index: number) => S | Promise<S>): IterableDataset<S> {
    return this.#then(async function* (rows) {
      let i = 0;
      for await (const { row, origin } of rows) yield { row: await fn(row, i++), origin };
    });
  }

  filter(keep: (row: R, index: number) => boolean | Promise<boolean>): IterableDataset<R> {
    return this.#then(async function* (rows) {
      let i = 0;
      for await (const placed of rows) if (await keep(placed.row, i++)) yield placed;
    });
  }

  /** The first `count` rows; all, if there are fewer. @throws ROW_OUT_OF_RANGE */
  take(count: number): IterableDataset<R> {
    checkCount('take', count, 0);
    return this.#then(async function* (rows) {
      if (count === 0) return;
      let taken = 0;
      for await (const placed of rows) {
        yield placed;
        if (++taken === count) return;
      }
    });
  }

  /** All but the first `count` rows. @throws ROW_OUT_OF_RANGE */
  skip(count: number): IterableDataset<R> {
    checkCount('skip', count, 0);
    return this.#then(async function* (rows) {
      let seen = 0;
      for await (const placed of rows) if (seen++ >= count) yield placed;
    });
  }

  /**
   * An order that depends on the seed and the epoch alone. `bufferSize` rows are held; one of them,
   * drawn at random, comes next, and the next row read takes its place. A buffer as large as the
   * data shuffles it wholly; a small one mixes near rows.
   *
   * @param seed default 0
   * @throws UNKNOWN_OPTION, INVALID_OPTION, ROW_OUT_OF_RANGE
   */
  shuffle(seed = 0, options: ShuffleOptions = {}): IterableDataset<R> {
    const { bufferSize } = parseOptions(shuffleOptions, options, { where: 'shuffle' });
    checkCount('shuffle with bufferSize', bufferSize, 1);
    return this.#then(async function* (rows, epoch) {
      const rng = new Rng(seed, BUFFER_STREAM + epoch);
      const held: OriginRow<R>[] = [];
      for await (const placed of rows) {
        if (held.length < bufferSize) {
          held.push(placed);
          continue;
        }
        const at = rng.below(bufferSize);
        yield held[at]!;
        held[at] = placed;
      }
      for (const i of rng.permutation(held.length)) yield held[i]!;
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<R> {
    for await (const { row } of this.#open(0)) yield row;
  }

  #then<S>(
    next: (rows: AsyncIterable<OriginRow<R>>, epoch: number) => AsyncIterable<OriginRow<S>>,
  ): IterableDataset<S> {
    return new IterableDataset((epoch) => next(this.#open(epoch), epoch));
  }
}

const shuffleShape = {
  /** Rows that are held in memory. Default 1000. */
  bufferSize: z.number().default(1000).meta({ aka: 'buffer size' }),
};
const shuffleOptions = z.strictObject(shuffleShape);

/** How a stream is shuffled. */
export type ShuffleOptions = OptionsInput<typeof shuffleShape>;

function checkCount(method: string, count: number, least: number): void {
  if (Number.isInteger(count) && count >= least) return;
  throw new AttuneError('ROW_OUT_OF_RANGE', `${method}(${count}): not a number of rows.`, {
    remedy: `Give a whole number of at least ${least}.`,
  });
}
