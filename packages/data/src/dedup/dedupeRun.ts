import { AttuneError } from '@attune/core';
import { type DataRow, formatOrigin, isProblem } from '../contract/dataRow.js';
import type { HeldRows, StageContext } from '../contract/dataStage.js';
import { withOrigins } from '../contract/rowsInput.js';
import { type TextOf, textOf } from '../schemas/textOf.js';
import { fromFiles } from '../sources/sources.js';
import { Clusters } from './clusters.js';
import { DedupeFacts } from './dedupeFacts.js';
import { type DedupePlan, exactOf, nearOf } from './options.js';
import { Priorities } from './priorities.js';
import { SeenRows } from './seenRows.js';
import { SEMANTIC_BATCH, SemanticJudge } from './semanticJudge.js';
import { TextJudge } from './textJudge.js';
import { type Verdict, VerdictList } from './verdicts.js';

/** A row with its number and its text. */
interface Candidate {
  readonly item: DataRow;
  readonly row: number;
  readonly text: string;
}

/** One run of the stage. */
export class DedupeRun {
  readonly #judge: TextJudge;
  #semantic: SemanticJudge | null = null;
  readonly #rows = new SeenRows();
  readonly #clusters = new Clusters();
  readonly #facts = new DedupeFacts();
  readonly #textOf: TextOf;
  /** Rows with lower numbers are of the other set. */
  #others = 0;

  constructor(
    private readonly plan: DedupePlan,
    private readonly context: StageContext,
  ) {
    this.#textOf = textOf(plan.text, 'dedupe');
    this.#judge = new TextJudge(exactOf(plan), nearOf(plan), context.seed);
  }

  async *run(rows: AsyncIterable<DataRow>): AsyncGenerator<DataRow> {
    const { plan, context } = this;
    if (plan.semantic) this.#semantic = await SemanticJudge.of(plan.semantic, context);
    try {
      await this.#readOthers();
      const iterator = rows[Symbol.asyncIterator]();
      const first = await iterator.next();
      if (!first.done) {
        const all = from(first.value, iterator);
        yield* this.#needsAll(first.value) ? this.#held(all) : this.#streamed(all);
      }
      const judges = { near: this.#judge.near, semantic: this.#semantic };
      this.#facts.report(context, this.#clusters, this.#rows, judges);
    } finally {
      this.#semantic?.[Symbol.dispose]();
      this.#judge[Symbol.dispose]();
    }
  }

  /**
   * Whether a row that comes later can stay in the place of an earlier one. The first row
   * tells whether there was a split: `#streamed` refuses a part that comes only later.
   */
  #needsAll({ split }: DataRow): boolean {
    const { plan } = this;
    return split !== undefined || plan.keep !== 'first' || nearOf(plan)?.grouping === 'components';
  }

  async #readOthers(): Promise<void> {
    const { against } = this.plan;
    if (against === null) return;
    const others = typeof against === 'string' ? fromFiles(against) : against;
    let unreadable = 0;
    let batch: Candidate[] = [];
    const flush = async () => {
      await this.#meaningsOf(batch);
      batch = [];
    };
    for await (const read of withOrigins(others, 'against')) {
      if (isProblem(read)) {
        unreadable++;
        continue;
      }
      const candidate = this.#candidate(read, this.#note(read));
      if (candidate && this.#textVerdict(candidate) === null) batch.push(candidate);
      if (batch.length === SEMANTIC_BATCH) await flush();
    }
    await flush();
    if (unreadable > 0) this.context.warn(`${unreadable} rows of the other set could not be read.`);
    this.#others = this.#rows.length;
  }

  /** Rows as they come: the first one of several stays. */
  async *#streamed(rows: AsyncIterable<DataRow>): AsyncGenerator<DataRow> {
    let batch: Candidate[] = [];
    for await (const item of rows) {
      if (item.split !== undefined) throw lateSplit(item);
      const candidate = this.#candidate(item, this.#note(item));
      if (!candidate) this.#facts.withoutText++;
      const verdict = candidate && this.#textVerdict(candidate);
      if (verdict) this.#drop(item, candidate.row, verdict);
      else if (!this.#semantic) yield item;
      else {
        batch.push(candidate ?? { item, row: this.#rows.length - 1, text: '' });
        if (batch.length < SEMANTIC_BATCH) continue;
        yield* this.#meant(batch);
        batch = [];
      }
    }
    yield* this.#meant(batch);
  }

  async *#meant(batch: readonly Candidate[]): AsyncGenerator<DataRow> {
    const verdicts = await this.#meaningsOf(batch);
    for (const [i, { item, row }] of batch.entries()) {
      const verdict = verdicts[i] ?? null;
      if (verdict === null) yield item;
      else this.#drop(item, row, verdict);
    }
  }

  /** All rows first: those that stay before others are judged before them. */
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
    if (priorities.withoutScore === held.length)
      throw new AttuneError(
        'DATA_COLUMN',
        `dedupe: none of ${held.length} rows has a number in ${keptBy(this.plan)}, by which rows are to stay.`,
        { remedy: 'Run the stage that adds it before, or leave `keep` out: the first row stays.' },
      );
    if (priorities.withoutScore > 0)
      context.warn(`${priorities.withoutScore} rows have no number in the column to keep by.`);
    const verdicts = await this.#verdicts(held, priorities.order());
    let index = 0;
    for await (const item of held) {
      const verdict = verdicts.at(index);
      if (verdict === null) yield item;
      else this.#drop(item, this.#others + index, verdict);
      index++;
    }
  }

  async #verdicts(held: HeldRows, order: Int32Array): Promise<VerdictList> {
    const verdicts = new VerdictList(held.length);
    const candidateAt = async (index: number) =>
      this.#candidate(await held.at(index), this.#others + index);
    let done = 0;
    for (const index of order) {
      const candidate = await candidateAt(index);
      if (!candidate) this.#facts.withoutText++;
      const verdict = candidate && this.#textVerdict(candidate);
      if (verdict) verdicts.set(index, verdict);
      if (++done % 1024 === 0) this.context.progress(done, held.length);
    }
    if (nearOf(this.plan)?.grouping === 'components')
      for (const row of numbers(this.#others, order)) {
        const verdict = this.#judge.settle(row);
        const index = row - this.#others;
        if (verdict === null || index < 0 || verdicts.has(index)) continue;
        const { text } = (await candidateAt(index))!;
        verdicts.set(index, this.#merge(row, verdict, text));
      }
    if (this.#semantic === null) return verdicts;
    let batch: Candidate[] = [];
    const flush = async () => {
      const found = await this.#meaningsOf(batch);
      for (const [i, verdict] of found.entries())
        if (verdict) verdicts.set(batch[i]!.row - this.#others, verdict);
      batch = [];
    };
    for (const index of order) {
      if (verdicts.has(index)) continue;
      const candidate = await candidateAt(index);
      if (candidate) batch.push(candidate);
      if (batch.length === SEMANTIC_BATCH) await flush();
    }
    await flush();
    return verdicts;
  }

  #note(item: DataRow): number {
    this.#clusters.add();
    return this.#rows.add(item);
  }

  /** null for a row without text: such rows must not all be copies of one. */
  #candidate(item: DataRow, row: number): Candidate | null {
    const text = this.#textOf(item);
    return text.trim() === '' ? null : { item, row, text };
  }

  #textVerdict({ row, text }: Candidate): Verdict | null {
    const verdict = this.#judge.judge(text, row);
    return verdict && this.#merge(row, verdict, text);
  }

  async #meaningsOf(batch: readonly Candidate[]): Promise<(Verdict | null)[]> {
    const asked = batch.filter(({ text }) => text !== '');
    if (this.#semantic === null || asked.length === 0) return [];
    const found = await this.#semantic.judge(
      asked.map(({ text }) => text),
      asked.map(({ row }) => row),
    );
    const byRow = new Map(asked.map(({ row }, i) => [row, found[i]!]));
    return batch.map(({ row, text }) => {
      const verdict = byRow.get(row) ?? null;
      return verdict && this.#merge(row, verdict, text);
    });
  }

  #merge(row: number, verdict: Verdict, text: string): Verdict {
    return { ...verdict, of: this.#clusters.merge(row, verdict.of, text) };
  }

  #drop(item: DataRow, row: number, verdict: Verdict): void {
    const { reason, of, similarity } = verdict;
    this.#facts.count(reason, {
      isOther: of < this.#others,
      isAcross: of >= this.#others && this.#rows.splitOf(of) !== this.#rows.splitOf(row),
    });
    const measure = reason === 'near-duplicate' ? 'Jaccard' : 'cosine';
    const how = Number.isNaN(similarity)
      ? ', linked by pairs'
      : reason === 'duplicate'
        ? ''
        : `, ${measure} ${similarity.toFixed(2)}`;
    this.context.drop(item, reason, `of ${formatOrigin(this.#rows.originOf(of))}${how}`);
  }
}

const keptBy = ({ keep }: DedupePlan): string =>
  typeof keep === 'string' ? `"${keep}"` : `"${keep.column}"`;

const lateSplit = ({ origin, split }: DataRow): AttuneError =>
  new AttuneError(
    'DATA_SPLIT_LATE',
    `dedupe: ${formatOrigin(origin)} is of "${split}", and the first row is of no part: rows before this one may have gone on already that it is to stay before.`,
    { remedy: 'Give each row a `split` or none; the first row says which of the two it is.' },
  );

/** The numbers of the other set's rows, then those of the rows in their order. */
function* numbers(others: number, order: Int32Array): Generator<number> {
  for (let row = 0; row < others; row++) yield row;
  for (const index of order) yield others + index;
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
