import type { Attune, Logger } from '@attune/core';
import { silentLogger } from '@attune/core/util';
import type { DataRow, ReadRow } from '../contract/dataRow.js';
import { isProblem } from '../contract/dataRow.js';
import type { DataStage, StageCache, StageContext } from '../contract/dataStage.js';
import { holdRows } from './heldRows.js';
import { StageClock } from './stageClock.js';
import {
  checkFact,
  checkOutputRow,
  checkOutputRows,
  checkReason,
  checkRowValues,
  wholly,
} from './stageGuard.js';
import { type LostRow, type StageReport, StageTally } from './stageTally.js';

/** A stage with its options, checked. */
export interface PlannedStage {
  readonly stage: DataStage;
  readonly options: Readonly<Record<string, unknown>>;
}

/** How far a stage is. */
export interface StageProgress {
  readonly stage: string;
  readonly rowsIn: number;
  readonly rowsOut: number;
  /** Where a stage sees all rows before it gives any: how many it has seen, of how many. */
  readonly done: number | null;
  readonly total: number | null;
  /** Time of its own work, without that of the stages before it. */
  readonly seconds: number;
  /** Whether all of its rows are through. */
  readonly isDone: boolean;
}

/** What a run needs beside rows and stages. */
export interface RunParts {
  /** Where rows are held: a folder of this run. */
  readonly workFolder: string;
  readonly seed: number;
  /** For stages that load models by their names. */
  readonly attune?: Attune | null;
  /** Small results that are kept between runs, one store for each stage. */
  cacheOf(stage: string, version: number): StageCache;
  /** Keeps the rows of costly stages between runs. Absent: they run again. */
  readonly keeper?: RowKeeper | null;
  /** Told of every row that is lost, as it happens. */
  onLost?(lost: LostRow, kind: 'dropped' | 'quarantined'): void;
  onProgress?(progress: StageProgress): void;
  readonly signal?: AbortSignal | null;
  readonly logger?: Logger;
}

/** A stage that is about to run. */
export interface StageRunning extends PlannedStage {
  readonly tally: StageTally;
  readonly rows: AsyncIterable<DataRow>;
  /** The stage on these rows; lost ones are told to `onLost`, too. */
  run(rows: AsyncIterable<DataRow>, onLost: RunParts['onLost']): AsyncIterable<DataRow>;
}

/** Gives the rows of a costly stage from a run before, or runs it and keeps them. */
export interface RowKeeper {
  rowsOf(running: StageRunning, parts: RunParts): AsyncIterable<DataRow>;
}

/** Rows on their way through the stages, and what became of those that are gone. */
export interface RunningStages {
  readonly rows: AsyncIterable<DataRow>;
  /** The reading first, then stage by stage. Whole when `rows` has come to its end. */
  reports(): readonly StageReport[];
  /** Since the run began: the stages and what is done with their rows. */
  seconds(): number;
}

/** The reading of rows, as reports call it. */
export const READING = 'read';

/**
 * Leads rows through stages, one after the other, as they are asked for. Every stage is counted:
 * one that loses rows without a word is an error.
 *
 * @throws DATA_ROWS_LOST, DATA_STAGE_OUTPUT, DATA_ROW_VALUE while rows are read
 */
export function runStages(
  source: AsyncIterable<ReadRow>,
  stages: readonly PlannedStage[],
  parts: RunParts,
): RunningStages {
  const clock = new StageClock();
  const reading = new StageTally(READING);
  const tallies = [reading];
  let rows = readRows(source, reading, clock, parts);
  for (const { stage, options } of stages) {
    const tally = new StageTally(uniqueName(stage.name, tallies));
    tallies.push(tally);
    const given = counted(rows, tally, parts);
    const start: StageRunning['run'] = (input, onLost) =>
      stage.run(input, options, contextOf(stage, tally, { ...parts, onLost }));
    const run: StageRunning['run'] = (input, onLost) =>
      wholly(input, tally, (own) => start(own, onLost));
    const out =
      parts.keeper && stage.isCostly
        ? parts.keeper.rowsOf({ stage, options, tally, rows: given, run }, parts)
        : start(given, parts.onLost);
    rows = checked(out, given, tally, clock, parts);
  }
  return {
    rows,
    reports: () => tallies.map((tally) => tally.report()),
    seconds: () => clock.totalMs / 1000,
  };
}

function uniqueName(name: string, tallies: readonly StageTally[]): string {
  const before = tallies.filter((tally) => tally.name.replace(/-\d+$/, '') === name).length;
  return before === 0 ? name : `${name}-${before + 1}`;
}

/** Places without a row go into quarantine at once. */
async function* readRows(
  source: AsyncIterable<ReadRow>,
  tally: StageTally,
  clock: StageClock,
  { onLost, signal }: RunParts,
): AsyncGenerator<DataRow> {
  let caller = clock.turn(tally);
  try {
    for await (const read of source) {
      signal?.throwIfAborted();
      tally.rowsIn++;
      if (!isProblem(read)) {
        checkRowValues(read, 'that was given');
        tally.rowsOut++;
        clock.turn(caller);
        yield read;
        caller = clock.turn(tally);
        continue;
      }
      const detail = read.problem;
      const lost: LostRow = { stage: tally.name, reason: 'unreadable', detail, row: read };
      tally.quarantined(lost);
      onLost?.(lost, 'quarantined');
    }
  } finally {
    clock.turn(caller);
  }
}

/** Rows between two calls of `onProgress`. */
const PROGRESS_ROWS = 1024;

async function* counted(
  rows: AsyncIterable<DataRow>,
  tally: StageTally,
  { signal, onProgress }: RunParts,
): AsyncGenerator<DataRow> {
  for await (const row of rows) {
    tally.rowsIn++;
    if (tally.rowsIn % PROGRESS_ROWS === 0) {
      signal?.throwIfAborted();
      onProgress?.(progressOf(tally, null, null));
    }
    tally.lastIn = row.row;
    yield row;
  }
  tally.isRead = true;
}

async function* checked(
  rows: AsyncIterable<DataRow>,
  given: AsyncGenerator<DataRow>,
  tally: StageTally,
  clock: StageClock,
  { onProgress }: RunParts,
): AsyncGenerator<DataRow> {
  checkOutputRows(rows, tally.name);
  let caller = clock.turn(tally);
  try {
    for await (const row of rows) {
      checkOutputRow(row, tally.name, tally.lastIn);
      tally.rowsOut++;
      clock.turn(caller);
      yield row;
      caller = clock.turn(tally);
    }
  } finally {
    clock.turn(caller);
  }
  // A stage that does not ask for rows is right where there are none.
  if (!tally.isRead) await given.next();
  if (!tally.isRead) throw tally.endedEarly();
  tally.check();
  onProgress?.({ ...progressOf(tally, null, null), isDone: true });
}

const progressOf = (
  { name, rowsIn, rowsOut, workMs }: StageTally,
  done: number | null,
  total: number | null,
): StageProgress => ({
  stage: name,
  rowsIn,
  rowsOut,
  done,
  total,
  seconds: workMs / 1000,
  isDone: false,
});

type Parts = Omit<RunParts, 'onLost'> & { readonly onLost: RunParts['onLost'] };

function contextOf(stage: DataStage, tally: StageTally, parts: Parts): StageContext {
  const lose = (
    kind: 'dropped' | 'quarantined',
    row: LostRow['row'],
    reason: string,
    detail: string | undefined,
  ) => {
    checkReason(reason, kind, tally.name);
    const lost = { stage: tally.name, reason, ...(detail !== undefined && { detail }), row };
    tally[kind](lost);
    parts.onLost?.(lost, kind);
  };
  return {
    drop: (row, reason, detail) => lose('dropped', row, reason, detail),
    quarantine: (row, reason, detail) => lose('quarantined', row, reason, detail),
    added: (_row, reason) => tally.added(reason),
    fact: (name, value) => {
      checkFact(name, value, tally.name);
      tally.fact(name, value);
    },
    warn: (message) => tally.warn(message),
    progress: (done, total) => parts.onProgress?.(progressOf(tally, done, total)),
    hold: (rows) => holdRows(rows, parts.workFolder),
    cache: parts.cacheOf(stage.name, stage.version ?? 1),
    seed: parts.seed,
    attune: parts.attune ?? null,
    signal: parts.signal ?? null,
    logger: parts.logger ?? silentLogger,
  };
}
