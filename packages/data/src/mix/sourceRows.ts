import { AttuneError } from '@attune/core';
import type { Rng } from '@attune/core/util';
import { type DataRow, isProblem } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { type RowsInput, withOrigins } from '../contract/rowsInput.js';

/** A row that is drawn, and whether it was drawn before. */
export interface DrawnRow {
  readonly item: DataRow;
  readonly repeated: boolean;
}

/** Where the rows of a source that are not drawn go: dropped, if they were counted as come in. */
export type Leave = (item: DataRow) => void;

/** The rows of one source, pass by pass. Places that are no row are put aside in the first. */
export class SourceRows implements AsyncDisposable {
  /** The first row, once one was read. */
  first: DataRow | null = null;
  #firstPass = true;
  #held: (AsyncIterable<DataRow> & AsyncDisposable) | null = null;

  constructor(
    readonly name: string,
    private readonly rows: RowsInput,
    private readonly context: StageContext,
  ) {}

  /** Rows that can be read but once are put into a file. */
  async makeRepeatable(): Promise<void> {
    if (this.#held === null && !isRepeatable(this.rows))
      this.#held = await this.context.hold(this.pass());
  }

  /** Whether both read from one iterator. */
  isSameIterator({ rows }: SourceRows): boolean {
    return this.rows === rows && !isRepeatable(rows);
  }

  async *pass(): AsyncGenerator<DataRow> {
    if (this.#held !== null) return yield* this.#held;
    const first = this.#firstPass;
    this.#firstPass = false;
    for await (const read of withOrigins(this.rows, this.name)) {
      this.context.signal?.throwIfAborted();
      if (!isProblem(read)) {
        this.first ??= read;
        yield read;
      } else if (first) this.context.quarantine(read, 'unreadable');
    }
  }

  async count(): Promise<number> {
    await this.makeRepeatable();
    let size = 0;
    for await (const _ of this.pass()) size++;
    return size;
  }

  /**
   * Draws `count` of `size` rows: whole passes as long as all are wanted, then as many of one more
   * pass as are missing, in their order. Each subset of that pass is equally likely (Knuth, The Art
   * of Computer Programming 2, 3.4.2, algorithm S).
   *
   * @throws DATA_MIX_CHANGED when a pass has another number of rows than `size`
   */
  async *draw(
    count: number,
    size: number,
    take: 'sample' | 'first',
    rng: Rng,
    leave: Leave | null,
  ): AsyncGenerator<DrawnRow> {
    if (count === 0 && leave === null) return;
    for (let left = count, pass = 0; pass === 0 || left > 0; pass++) {
      let wanted = Math.min(left, size);
      left -= wanted;
      let unseen = size;
      for await (const item of this.pass()) {
        if (unseen === 0) throw this.#changed(size, 'more');
        const drawn =
          wanted > 0 && (wanted === unseen || take === 'first' || rng.below(unseen) < wanted);
        unseen--;
        if (drawn) {
          wanted--;
          yield { item, repeated: pass > 0 };
        } else if (pass === 0) leave?.(item);
        // A pass that was read to its end has no more rows than was said.
        if (wanted === 0 && leave === null && unseen > 0) break;
      }
      if (wanted > 0) throw this.#changed(size, `${size - unseen}`);
    }
  }

  #changed(size: number, now: string): AttuneError {
    return new AttuneError(
      'DATA_MIX_CHANGED',
      `"${this.name}" was to have ${size} rows; this pass has ${now}.`,
      {
        remedy:
          'Leave `size` out, so that rows are counted, and leave the files alone while they are read.',
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held?.[Symbol.asyncDispose]();
  }
}

/**
 * Whether rows can be read more than once: an iterator, which gives itself, can't; nor a stream.
 */
function isRepeatable(rows: RowsInput): boolean {
  if ('pipe' in rows || 'getReader' in rows) return false;
  if (!(Symbol.asyncIterator in rows)) return rows[Symbol.iterator]() !== (rows as unknown);
  return !('next' in rows);
}
