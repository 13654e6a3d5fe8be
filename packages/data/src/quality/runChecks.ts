import { AttuneError, type Row } from '@attune/core';
import type { DataRow } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import type { QualityJudge, Verdict } from './qualityCheck.js';
import { COLUMN_PREFIX, type QualityRow, qualityRow, type RowReading } from './qualityRow.js';

/** A check of a run. */
export interface RunningCheck {
  readonly name: string;
  /** Rows of a lower score are dropped. */
  readonly minScore: number;
  readonly judge: QualityJudge;
}

/** How a run treats what its checks find. */
export interface CheckRules {
  /** Whether rows are scored, and all of them stay. */
  readonly isScoring: boolean;
  readonly reading: RowReading;
}

/** A row that is being judged. */
interface Candidate {
  readonly item: DataRow;
  readonly index: number;
  readonly row: QualityRow;
  /** Scores and reasons so far, by the names of their columns. */
  readonly columns: Row;
}

/**
 * Leads rows through checks. Those that need one row at a time come first, while rows stream; the
 * others then look at the rows that are left, which wait in a file, and judge them.
 */
export async function* runChecks(
  rows: AsyncIterable<DataRow>,
  checks: readonly RunningCheck[],
  rules: CheckRules,
  context: StageContext,
): AsyncGenerator<DataRow> {
  const streaming = checks.filter(({ judge }) => (judge.looks ?? 0) === 0);
  const looking = checks.filter(({ judge }) => (judge.looks ?? 0) > 0);
  const judged = judgeAll(rows, streaming, rules, context);
  if (looking.length === 0) yield* judged;
  else {
    await using held = await context.hold(judged);
    const looks = Math.max(...looking.map(({ judge }) => judge.looks!));
    for (let look = 0; look < looks; look++) {
      const now = looking.filter(({ judge }) => look < judge.looks!);
      let index = 0;
      for await (const { row } of held) {
        const seen = qualityRow(row, rules.reading);
        for (const { judge } of now) await judge.look?.(seen, index, look);
        index++;
        if (index % PROGRESS_ROWS === 0)
          context.progress(look * held.length + index, looks * held.length);
      }
      for (const { judge } of now) await judge.looked?.(look);
    }
    yield* judgeAll(held, looking, rules, context);
  }
  for (const { judge } of checks)
    for (const [name, value] of Object.entries(judge.facts?.() ?? {})) context.fact(name, value);
}

/** Rows between two words about progress. */
const PROGRESS_ROWS = 4096;

async function* judgeAll(
  rows: AsyncIterable<DataRow>,
  checks: readonly RunningCheck[],
  rules: CheckRules,
  context: StageContext,
): AsyncGenerator<DataRow> {
  if (checks.length === 0) {
    yield* rows;
    return;
  }
  const size = Math.max(...checks.map(({ judge }) => judge.batchSize ?? 1));
  let first = 0;
  let waiting: DataRow[] = [];
  for await (const item of rows) {
    waiting.push(item);
    if (waiting.length < size) continue;
    yield* await judgeBatch(waiting, first, checks, rules, context);
    first += waiting.length;
    waiting = [];
  }
  if (waiting.length > 0) yield* await judgeBatch(waiting, first, checks, rules, context);
}

async function judgeBatch(
  items: readonly DataRow[],
  firstIndex: number,
  checks: readonly RunningCheck[],
  rules: CheckRules,
  context: StageContext,
): Promise<DataRow[]> {
  let left: Candidate[] = items.map((item, i) => ({
    item,
    index: firstIndex + i,
    row: qualityRow(item.row, rules.reading),
    columns: {},
  }));
  for (const check of checks) {
    if (left.length === 0) break;
    const verdicts = await verdictsOf(check, left);
    left = left.flatMap((candidate, i) => {
      const verdict = verdicts[i]!;
      const next = mended(candidate, verdict, rules);
      if (rules.isScoring) return [scored(next, check.name, verdict)];
      if (verdict.score >= check.minScore) return [next];
      context.drop(next.item, verdict.reason ?? check.name, verdict.detail);
      return [];
    });
  }
  return left.map(({ item, columns }) =>
    rules.isScoring ? { ...item, row: { ...item.row, ...columns } } : item,
  );
}

const mended = (candidate: Candidate, { row }: Verdict, { reading }: CheckRules): Candidate =>
  row === undefined
    ? candidate
    : { ...candidate, item: { ...candidate.item, row }, row: qualityRow(row, reading) };

const scored = (
  candidate: Candidate,
  check: string,
  { score, reason, detail }: Verdict,
): Candidate => {
  const column: string = `${COLUMN_PREFIX}${check}`;
  const why = detail === undefined ? (reason ?? null) : `${reason}: ${detail}`;
  return {
    ...candidate,
    columns: { ...candidate.columns, [column]: score, [`${column}_reason`]: why },
  };
};

/** @throws DATA_CHECK_BROKEN for a check that gives no score from 0 to 1 for each row */
async function verdictsOf(
  { name, judge }: RunningCheck,
  candidates: readonly Candidate[],
): Promise<readonly Verdict[]> {
  const verdicts = await judge.judge(
    candidates.map(({ row }) => row),
    candidates.map(({ index }) => index),
  );
  const isWhole = Array.isArray(verdicts) && verdicts.length === candidates.length;
  const wrong = isWhole ? verdicts.find(({ score }) => !(score >= 0 && score <= 1)) : undefined;
  if (isWhole && wrong === undefined) return verdicts;
  throw new AttuneError(
    'DATA_CHECK_BROKEN',
    isWhole
      ? `the quality check "${name}" gave the score ${String(wrong!.score)}; a score is a number from 0 to 1.`
      : `the quality check "${name}" gave ${Array.isArray(verdicts) ? verdicts.length : 'no'} verdicts on ${candidates.length} rows.`,
    { remedy: 'Its judge returns one { score, reason?, detail? } for each row, in their order.' },
  );
}
