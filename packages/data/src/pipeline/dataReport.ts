import type { SplitName } from '../contract/dataRow.js';
import type { RowStatistics } from '../report/rowStatistics.js';
import type { StageReport } from './stageTally.js';

/**
 * What became of the rows of a pipeline. `rowsIn = rowsOut + quarantined + sum(dropped)`, always:
 * rows that stages add count as in.
 */
export interface DataReport {
  /** Places that were read, with a row or without one, and rows that stages added. */
  readonly rowsIn: number;
  readonly rowsOut: number;
  /** Rows, and places without one, that were put aside. */
  readonly quarantined: number;
  /** Rows that were left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Rows that stages made, by reason. */
  readonly added: Readonly<Record<string, number>>;
  /** Rows of each part; without a split all are in `train`. */
  readonly splits: Readonly<Record<SplitName, number>>;
  /** Groups with rows in more than one part; null: no split by groups was made. */
  readonly groupsShared: number | null;
  /** Lengths, scores and values of the rows that came out. */
  readonly statistics: RowStatistics;
  /** The reading first, then stage by stage. */
  readonly stages: readonly StageReport[];
  readonly warnings: readonly string[];
  /** From the first row to the last: all stages, and what is done with the rows. */
  readonly seconds: number;
}

/** Sums up what stages did. */
export function dataReport(
  stages: readonly StageReport[],
  splits: Readonly<Record<SplitName, number>>,
  statistics: RowStatistics,
  seconds: number,
): DataReport {
  const added = sums(stages.map((stage) => stage.added));
  // Those of the reading are among its rows.
  const problems = stages.slice(1).reduce((all, stage) => all + stage.problems, 0);
  const groups = stages.map(({ facts }) => facts.groupsShared);
  return {
    rowsIn: stages[0]!.rowsIn + sum(added) + problems,
    rowsOut: stages.at(-1)!.rowsOut,
    quarantined: sum(sums(stages.map((stage) => stage.quarantined))),
    dropped: sums(stages.map((stage) => stage.dropped)),
    added,
    splits,
    groupsShared: groups.findLast((count) => typeof count === 'number') ?? null,
    statistics,
    stages,
    warnings: stages.flatMap(({ name, warnings }) => warnings.map((text) => `${name}: ${text}`)),
    seconds,
  };
}

type Counts = Readonly<Record<string, number>>;

function sums(counts: readonly Counts[]): Record<string, number> {
  const all = new Map<string, number>();
  for (const [reason, count] of counts.flatMap((one) => Object.entries(one)))
    all.set(reason, (all.get(reason) ?? 0) + count);
  return Object.fromEntries(all);
}

const sum = (counts: Counts): number => Object.values(counts).reduce((a, b) => a + b, 0);
