import { AttuneError } from '@attune/core';
import { describeValue } from '@attune/core/util';
import { type DataRow, formatOrigin, isProblem } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { withOrigins } from '../contract/rowsInput.js';
import { Clusters } from './clusters.js';
import { type DedupePlan, exactOf, nearOf } from './options.js';
import { Priorities } from './priorities.js';
import { SeenRows } from './seenRows.js';
import { type DuplicateReason, TextJudge, type Verdict } from './textJudge.js';

/** A row with its number, and why it goes; null: it stays. */
interface Judged {
  readonly item: DataRow;
  readonly row: number;
  readonly verdict: Verdict | null;
}

/** One run of the stage. */
export class DedupeRun {
  readonly #judge: TextJudge;
  readonly #rows = new SeenRows();
  readonly #clusters = new Clusters();
  readonly #counts: Record<DuplicateReason, number> = {
    duplicate: 0,
    'near-duplicate': 0,
    'semantic-duplicate': 0,
  };
  /** Rows with lower numbers are of the other set. */
  #others = 0;
  #ofOthers = 0;
  #acrossSplits = 0;
  #withoutText = 0;

  constructor(
    private readonly plan: DedupePlan,
    private readonly context: StageContext,
  ) {
    this.#judge = new TextJudge(exactOf(plan), nearOf(plan), context.seed);
  }

  async *run(rows: AsyncIterable<DataRow>): AsyncGenerator<DataRow> {
    await this.#readOthers();
    const iterator = rows[Symbol.asyncIterator]();
    const first = await iterator.next();
    if (!first.done) {
      const all = from(first.value, iterator);
      const needsAll = first.value.split !== undefined || this.plan.keep !== 'first';
      yield* needsAll ? this.#held(all) : this.#streamed(all);
    }
    this.#report();
  }

  async #readOthers(): Promise<void> {
    if (this.plan.against === null) return;
    let unreadable = 0;
    for await (const read of withOrigins(this.plan.against, 'against')) {
      if (isProblem(read)) unreadable++;
      else this.#verdictOf(read, this.#note(read));
    }
    if (unreadable > 0) this.context.warn(`${unreadable} rows of the other set could not be read.`);
    this.#others = this.#rows.length;
  }

  async *#streamed(rows: AsyncIterable<DataRow>): AsyncGenerator<DataRow> {
    for await (const item of rows) {
      const row = this.#note(item);
      const verdict = this.#verdictOf(item, row);
      if (verdict === null) yield item;
      else this.#drop({ item, row, verdict });
    }
  }

  async *#held(rows: AsyncIterable<DataRow>): AsyncGenerator<DataRow> {
    const { context } = this;
    const priorities = new Priorities(this.plan.keep);
    const noted = async function* (this: DedupeRun) {
      for await (const item of rows) {
        this.#note(item);
        priorities.add(item.row, item.split, () => this.#textOf(item));
        yield item;
      }
    };
    await using held = await context.hold(noted.call(this));
    if (priorities.withoutScore > 0)
      context.warn(`${priorities.withoutScore} rows have no number in the column to keep by.`);
    const verdicts = new VerdictList(held.length);
    let done = 0;
    for (const index of priorities.order()) {
      const verdict = this.#verdictOf(await held.at(index), this.#others + index);
      if (verdict !== null) verdicts.set(index, verdict);
      if (++done % 1024 === 0) context.progress(done, held.length);
    }
    let index = 0;
    for await (const item of held) {
      const verdict = verdicts.at(index);
      if (verdict === null) yield item;
      else this.#drop({ item, row: this.#others + index, verdict });
      index++;
    }
  }

  #note(item: DataRow): number {
    this.#clusters.add();
    return this.#rows.add(item);
  }

  #verdictOf(item: DataRow, row: number): Verdict | null {
    const text = this.#textOf(item);
    if (text.trim() === '') {
      // Rows that `text` finds nothing in must not all be copies of one.
      this.#withoutText++;
      return null;
    }
    const verdict = this.#judge.judge(text, row);
    return verdict && { ...verdict, of: this.#clusters.merge(row, verdict.of, text) };
  }

  #textOf({ row, origin }: DataRow): string {
    const text: unknown = this.plan.text(row);
    if (typeof text === 'string') return text;
    throw new AttuneError(
      'DATA_TEXT',
      `dedupe: text gave ${describeValue(text)} for ${formatOrigin(origin)}; expected a string.`,
      { remedy: 'Return "" for a row that has nothing to compare: it stays.' },
    );
  }

  #drop({ item, row, verdict: { reason, of, similarity } }: Judged & { verdict: Verdict }): void {
    this.#counts[reason]++;
    if (of < this.#others) this.#ofOthers++;
    else if (this.#rows.splitOf(of) !== this.#rows.splitOf(row)) this.#acrossSplits++;
    const measure = { 'near-duplicate': ', Jaccard ', 'semantic-duplicate': ', cosine ' };
    const detail = reason === 'duplicate' ? '' : `${measure[reason]}${similarity.toFixed(2)}`;
    this.context.drop(item, reason, `of ${formatOrigin(this.#rows.originOf(of))}${detail}`);
  }

  #report(): void {
    const { context } = this;
    context.fact('duplicates', {
      exact: this.#counts.duplicate,
      near: this.#counts['near-duplicate'],
      semantic: this.#counts['semantic-duplicate'],
      ofOtherSet: this.#ofOthers,
      acrossSplits: this.#acrossSplits,
    });
    context.fact('clusters', this.#clusters.facts(this.#rows));
    if (this.#withoutText > 0)
      context.warn(`${this.#withoutText} rows have no text to compare; they stay.`);
    const { near } = this.#judge;
    if (near) {
      const { banding, crowded, tooLong } = near;
      context.fact('near', { ...banding, crowded, tooLong });
      if (crowded > 0)
        context.warn(
          `${crowded} rows share a template with so many others that they were compared with some of them alone; near-duplicates among them may be left.`,
        );
      if (tooLong > 0)
        context.warn(
          `${tooLong} rows are too long to look for near-duplicates of them; they stay.`,
        );
    }
    const { kept, size } = this.#clusters.largest();
    if (size >= LARGE && size > LARGE_SHARE * this.#rows.length)
      context.warn(
        `${size} rows of ${this.#rows.length} are copies of ${formatOrigin(this.#rows.originOf(kept))}: look whether that is meant.`,
      );
  }
}

/** Clusters that a warning is about. */
const LARGE = 1000;
const LARGE_SHARE = 0.1;

const REASONS: readonly DuplicateReason[] = ['duplicate', 'near-duplicate', 'semantic-duplicate'];

/** Verdicts by the place of a row, in 9 bytes each. */
class VerdictList {
  readonly #reason: Uint8Array;
  readonly #of: Int32Array;
  readonly #similarity: Float32Array;

  constructor(length: number) {
    this.#reason = new Uint8Array(length);
    this.#of = new Int32Array(length);
    this.#similarity = new Float32Array(length);
  }

  set(index: number, { reason, of, similarity }: Verdict): void {
    this.#reason[index] = 1 + REASONS.indexOf(reason);
    this.#of[index] = of;
    this.#similarity[index] = similarity;
  }

  at(index: number): Verdict | null {
    const reason = this.#reason[index]!;
    if (reason === 0) return null;
    return {
      reason: REASONS[reason - 1]!,
      of: this.#of[index]!,
      similarity: this.#similarity[index]!,
    };
  }
}

/** A row that was read, and those behind it. */
async function* from(first: DataRow, rest: AsyncIterator<DataRow>): AsyncGenerator<DataRow> {
  try {
    yield first;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}
