import type { Rng } from '@attune/core/util';
import type { DataRow } from '../contract/dataRow.js';
import type { Stopping } from './mixOptions.js';
import type { DrawnRow, SourceRows } from './sourceRows.js';

/** A row of one of several sources. */
export interface SourcedRow extends DrawnRow {
  /** Its index. */
  readonly source: number;
}

/** One source as it is read: a row ahead, so that its end is known with its last row. */
class Cursor {
  #rows: AsyncIterator<DataRow>;
  #ahead: DataRow | null = null;
  #pass = 0;
  /** Whether each row was given once. */
  wasRead = false;

  constructor(private readonly source: SourceRows) {
    this.#rows = source.pass()[Symbol.asyncIterator]();
  }

  /** Whether the pass has another row. */
  async hasNext(): Promise<boolean> {
    if (this.#ahead !== null) return true;
    const { done, value } = await this.#rows.next();
    this.#ahead = done === true ? null : value;
    return done !== true;
  }

  async take(): Promise<DrawnRow> {
    if (!(await this.hasNext())) throw new Error(`"${this.source.name}" has no more rows`);
    const item = this.#ahead!;
    this.#ahead = null;
    const repeated = this.#pass > 0;
    if (!(await this.hasNext())) this.wasRead = true;
    return { item, repeated };
  }

  /** Begins again behind the last row. */
  async wrap(): Promise<void> {
    if (await this.hasNext()) return;
    this.#pass++;
    this.#rows = this.source.pass()[Symbol.asyncIterator]();
  }

  get pass(): number {
    return this.#pass;
  }

  async close(): Promise<void> {
    await this.#rows.return?.();
  }
}

/** How rows are taken in turn. */
export interface Turns {
  /** Chance of each source to be next, relative to the others; null: in turn. */
  readonly weights: readonly number[] | null;
  readonly stopping: Stopping;
  readonly rng: Rng;
  /** Told of a source without rows, which is an error. */
  empty(source: SourceRows): Error;
  /** Told, at the end, of each row of the source that never came. */
  leave(source: number): ((item: DataRow) => void) | null;
}

/** Rows of several sources in turn, as `datasets.interleave_datasets` gives them. Not held. */
export async function* interleave(
  sources: readonly SourceRows[],
  turns: Turns,
): AsyncGenerator<SourcedRow> {
  if (turns.stopping === 'all_exhausted')
    for (const source of sources) await source.makeRepeatable();
  const cursors = sources.map((source) => new Cursor(source));
  try {
    for (const [i, cursor] of cursors.entries())
      if (!(await cursor.hasNext())) throw turns.empty(sources[i]!);
    yield* turns.weights === null
      ? inTurn(cursors, turns.stopping)
      : drawn(cursors, turns.weights, turns.stopping, turns.rng);
    for (const [i, cursor] of cursors.entries()) {
      const leave = turns.leave(i);
      if (leave === null || cursor.pass > 0) continue;
      while (await cursor.hasNext()) leave((await cursor.take()).item);
    }
  } finally {
    for (const cursor of cursors) await cursor.close();
  }
}

async function* inTurn(cursors: readonly Cursor[], stopping: Stopping): AsyncGenerator<SourcedRow> {
  for (;;) {
    const here = await Promise.all(cursors.map((cursor) => cursor.hasNext()));
    // datasets stops before a round that would not be whole.
    if (stopping === 'first_exhausted' && here.includes(false)) return;
    if (stopping === 'all_exhausted_without_replacement' && !here.includes(true)) return;
    for (const [source, cursor] of cursors.entries()) {
      if (stopping === 'all_exhausted') await cursor.wrap();
      if (await cursor.hasNext()) yield { source, ...(await cursor.take()) };
    }
    if (stopping === 'all_exhausted' && cursors.every(({ wasRead }) => wasRead)) return;
  }
}

async function* drawn(
  cursors: readonly Cursor[],
  weights: readonly number[],
  stopping: Stopping,
  rng: Rng,
): AsyncGenerator<SourcedRow> {
  const chances = [...weights];
  for (;;) {
    const source = choose(chances, rng);
    const cursor = cursors[source]!;
    if (stopping === 'all_exhausted') await cursor.wrap();
    yield { source, ...(await cursor.take()) };
    if (!cursor.wasRead) continue;
    if (stopping === 'first_exhausted') return;
    if (stopping === 'all_exhausted_without_replacement') chances[source] = 0;
    // A source that is never drawn is not waited for.
    if (cursors.every(({ wasRead }, i) => wasRead || weights[i] === 0)) return;
  }
}

/** An index by its chance. */
function choose(chances: readonly number[], rng: Rng): number {
  let at = rng.uniform() * chances.reduce((sum, chance) => sum + chance, 0);
  let last = -1;
  for (const [i, chance] of chances.entries()) {
    if (chance === 0) continue;
    last = i;
    at -= chance;
    if (at < 0) break;
  }
  return last;
}
