import { AttuneError } from '../util/errors.js';
import { Rng } from '../util/rng.js';
import { IterableDataset } from './iterableDataset.js';

/** One row of a data set: named values, as in a line of JSON. */
export type Row = Readonly<Record<string, unknown>>;

/** Stream number of shuffles: independent of initialisation and dropout under the same seed. */
const SHUFFLE_STREAM = 0x5f1e;

/**
 * Rows in memory, each with the place that it came from. A Dataset never changes: every method
 * returns a new one that shares the rows.
 *
 * Iterating starts from the beginning each time, with `for` as well as `for await`.
 */
export class Dataset<R = Row> implements Iterable<R>, AsyncIterable<R> {
  readonly #rows: readonly R[];
  readonly #origin: (index: number) => string;

  private constructor(rows: readonly R[], origin: (index: number) => string) {
    this.#rows = rows;
    this.#origin = origin;
  }

  /**
   * @param origin what error messages call a row: a name for all ("rows" gives "rows[3]"), or a
   *   function of the index
   */
  static from<R = Row>(
    rows: Iterable<R>,
    origin: string | ((index: number) => string) = 'rows',
  ): Dataset<R> {
    const list = [...rows];
    return new Dataset(list, typeof origin === 'string' ? (i) => `${origin}[${i}]` : origin);
  }

  get length(): number {
    return this.#rows.length;
  }

  /** Names of the fields of the first row. */
  get columnNames(): readonly string[] {
    const first = this.#rows[0];
    return typeof first === 'object' && first !== null ? Object.keys(first) : [];
  }

  /** Row `index`; negative counts from the end. @throws ROW_OUT_OF_RANGE */
  at(index: number): R {
    const at = index < 0 ? index + this.length : index;
    if (!Number.isInteger(index) || at < 0 || at >= this.length)
      throw new AttuneError('ROW_OUT_OF_RANGE', `row ${index} does not exist.`, {
        remedy: `The data set has ${this.length} rows: 0 to ${this.length - 1}.`,
      });
    return this.#rows[at]!;
  }

  /** Where row `index` came from, e.g. "train.jsonl:12". */
  origin(index: number): string {
    return this.#origin(index);
  }

  /**
   * The first `count` rows, or all if there are fewer. With indices: the rows at these, in that
   * order.
   *
   * @throws ROW_OUT_OF_RANGE
   */
  select(which: number | Iterable<number>): Dataset<R> {
    if (typeof which === 'number' && (!Number.isInteger(which) || which < 0))
      throw new AttuneError('ROW_OUT_OF_RANGE', `select(${which}): not a number of rows.`, {
        remedy: 'Give a count of at least 0, or a list of row numbers.',
      });
    const indices =
      typeof which === 'number'
        ? Array.from({ length: Math.min(which, this.length) }, (_, i) => i)
        : Array.from(which, (i) => (i < 0 ? i + this.length : i));
    return new Dataset(
      indices.map((i) => this.at(i)),
      (i) => this.#origin(indices[i]!),
    );
  }

  map<S>(fn: (row: R, index: number) => S): Dataset<S> {
    return new Dataset(this.#rows.map(fn), this.#origin);
  }

  filter(keep: (row: R, index: number) => boolean): Dataset<R> {
    const indices: number[] = [];
    this.#rows.forEach((row, i) => {
      if (keep(row, i)) indices.push(i);
    });
    return this.select(indices);
  }

  /** A permutation that depends on the seed alone. */
  shuffle(seed = 0): Dataset<R> {
    return this.select(shuffledIndices(this.length, seed));
  }

  /**
   * The same rows as a stream. A trainer tokenises them while the device works, so a large set
   * begins to train at once. In exchange a bad row shows only when it comes, and `maxSteps` is
   * needed.
   *
   * @example trainDataset: dataset.toIterableDataset().shuffle(42, { bufferSize: 10_000 })
   */
  toIterableDataset(): IterableDataset<R> {
    const rows = this.#rows;
    const origin = this.#origin;
    return IterableDataset.fromPlaced(async function* () {
      for (const [i, row] of rows.entries()) yield { row, origin: origin(i) };
    });
  }

  toArray(): R[] {
    return [...this.#rows];
  }

  [Symbol.iterator](): Iterator<R> {
    return this.#rows[Symbol.iterator]();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<R> {
    yield* this.#rows;
  }
}

/** A permutation of 0..length-1, the same on every machine. @param epoch a fresh one for each */
export const shuffledIndices = (length: number, seed: number, epoch = 0): Uint32Array =>
  new Rng(seed, SHUFFLE_STREAM + epoch).permutation(length);
