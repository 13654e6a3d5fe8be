import type { Row } from '@attune/core';
import { type ExtensionPoint, extensionPoint } from '@attune/core';
import type { PlainJson } from '@attune/core/util';
import type { z } from 'zod';
import type { StageContext } from '../contract/dataStage.js';
import type { QualityRow } from './qualityRow.js';

/** What a check says about a row. */
export interface Verdict {
  /** From 0 to 1, where 1 is a row without a fault; what lies between is the check's to define. */
  readonly score: number;
  /** What was found, in words that are the same for all such rows: "cut off". Absent: nothing. */
  readonly reason?: string;
  /** What was found in this row: 'ends in "and the"'. */
  readonly detail?: string;
  /** The row that takes its place, for a check that mends. Absent: the row stays as it is. */
  readonly row?: Row;
}

/** The verdict on a row without a fault. */
export const FAULTLESS: Verdict = { score: 1 };

/** The verdict of lowest score; the first of them where several are as low. */
export const worstOf = (verdicts: readonly Verdict[]): Verdict =>
  verdicts.reduce((worst, verdict) => (verdict.score < worst.score ? verdict : worst), FAULTLESS);

/** A check at work on the rows of one run. */
export interface QualityJudge {
  /**
   * How often it sees all rows before it judges the first. Default 0: rows stream. Rows that it
   * looks at wait in a file.
   */
  readonly looks?: number;
  /** Sees row `index` in look `look`, both from 0 on. */
  look?(row: QualityRow, index: number, look: number): void | Promise<void>;
  /** Called after the last row of a look. */
  looked?(look: number): void | Promise<void>;
  /** Rows that `judge` is given at once, at most. Default 1. */
  readonly batchSize?: number;
  /**
   * One verdict for each row, in their order.
   *
   * @param indices those that the rows had in `look`
   */
  judge(
    rows: readonly QualityRow[],
    indices: readonly number[],
  ): readonly Verdict[] | Promise<readonly Verdict[]>;
  /** What it learned about the set, for the report. Asked for after the last row. */
  facts?(): Readonly<Record<string, PlainJson>>;
}

/** What a check is given beside its options. */
export type QualityContext = Pick<StageContext, 'seed' | 'attune' | 'warn' | 'signal' | 'logger'>;

/** What `defineQualityCheck` takes. */
export interface QualityCheckDefinition<S extends z.ZodObject> {
  /** What `checks` calls it; its column is `quality_<name>`. */
  readonly name: string;
  /** Checks and completes its options. `name` and `minScore` are the stage's. */
  readonly options: S;
  /** Rows of a lower score are dropped where the options say nothing. Default 0.5. */
  readonly minScore?: number;
  /** Called once for each run. */
  start(
    options: z.output<S>,
    context: QualityContext,
  ): QualityJudge | ((row: QualityRow) => Verdict);
}

/** A check as the stage uses it. {@link defineQualityCheck} makes one. */
export interface QualityCheck extends Omit<QualityCheckDefinition<z.ZodObject>, 'start'> {
  start(
    options: Readonly<Record<string, unknown>>,
    context: QualityContext,
  ): QualityJudge | ((row: QualityRow) => Verdict);
}

/**
 * Makes a check of the stage `quality`: a name, the schema of its options, and what judges rows. A
 * function of a row is enough where one row says all; a {@link QualityJudge} sees all rows first.
 *
 * @example
 * export const shouting = defineQualityCheck({
 *   name: 'shouting',
 *   options: z.strictObject({ share: z.number().default(0.5) }),
 *   start: ({ share }) => ({ answer }) => {
 *     const upper = (answer?.match(/\p{Lu}/gu)?.length ?? 0) / Math.max(1, answer?.length ?? 0);
 *     return upper > share ? { score: 1 - upper, reason: 'shouting' } : { score: 1 };
 *   },
 * });
 */
export const defineQualityCheck = <S extends z.ZodObject>(
  definition: QualityCheckDefinition<S>,
): QualityCheck => definition as unknown as QualityCheck;

/** Checks that the stage `quality` can name. A plugin adds its own. */
export const QualityChecks: ExtensionPoint<QualityCheck> = extensionPoint(
  'quality check',
  (check) => check.name,
);
