import type { Row } from '@attune/core';
import type { SplitName } from '../contract/dataRow.js';
import type { RowsInput } from '../contract/rowsInput.js';
import { pipeline } from '../pipeline/pipeline.js';
import type { StageServices } from '../pipeline/stageFunction.js';
import type { LostRow, StageReport } from '../pipeline/stageTally.js';
import type { SplitOptions } from './splitStage.js';
import type { StratumReport } from './strata.js';

/** How a split turned out. */
export interface SplitReport {
  /** Groups with rows on more than one side. */
  readonly groupsShared: number;
  /** Groups on each side. */
  readonly groups: Readonly<Record<SplitName, number>>;
  /** Rows on each side. */
  readonly rows: Readonly<Record<SplitName, number>>;
  /** Rows without a value of `groupBy`. */
  readonly rowsWithoutGroup: number;
  /** Groups that are one with another, since their rows are nearly equal: `nearDuplicates`. */
  readonly groupsJoined?: number;
  /** Groups of each stratum on each side, the first 100. Absent: without `stratifyBy`. */
  readonly strata?: readonly StratumReport[];
  /** Groups whose rows are of several strata; they are in that of most of their rows. */
  readonly groupsOfSeveralStrata?: number;
  readonly warnings: readonly string[];
}

/** Rows on their sides, in the order in which they came. */
export interface SplitRows {
  readonly train: readonly Row[];
  /** Absent: no `validationSize` was given. */
  readonly validation?: readonly Row[];
  readonly test: readonly Row[];
  /** Items that are no rows. */
  readonly quarantined: readonly LostRow[];
  readonly report: SplitReport;
}

/**
 * Splits rows so that no group is on two sides. Which groups are held out depends on the seed and
 * the groups alone, not on the order of rows.
 *
 * @example
 * const { train, test } = await groupSplit(rows, { groupBy: 'document_id', testSize: 0.1, seed: 42
 * });
 * @throws DATA_SPLIT_EMPTY when a side would be empty; DATA_SPLIT_NO_GROUP when no row has a value
 * of `groupBy`; DATA_SPLIT_NO_STRATUM of `stratifyBy`; DATA_KEY where a function gives no value;
 * DATA_SPLIT_UNSTABLE when a function gives a row two groups
 */
export async function groupSplit(
  rows: RowsInput,
  options: SplitOptions = {},
  services: Omit<StageServices, 'cache'> = {},
): Promise<SplitRows> {
  const { splits, quarantined, report } = await pipeline(rows, services).split(options).collect();
  const { facts, warnings } = report.stages.at(-1) as StageReport & {
    readonly facts: Readonly<Record<string, unknown>>;
  };
  return {
    train: splits.train,
    ...((options.validationSize ?? 0) > 0 && { validation: splits.validation }),
    test: splits.test,
    quarantined,
    report: { ...(facts as unknown as SplitReport), warnings },
  };
}
