import type { StageContext } from '../contract/dataStage.js';
import { defineDataStage } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import type { DedupeReport } from './dedupeFacts.js';
import { DedupeRun } from './dedupeRun.js';
import { type DedupeOptions, dedupeSchema } from './options.js';

/** Leaves out rows that are copies, or nearly, of one that stays. */
export const dedupeStage = defineDataStage({
  name: 'dedupe',
  options: dedupeSchema,
  inputs: ({ against }) => (against === null ? [] : [against]),
  run: (rows, plan, context: StageContext) => new DedupeRun(plan, context).run(rows),
});

/**
 * Leaves out rows that are copies, or nearly, of one that stays. Reasons: 'duplicate',
 * 'near-duplicate', 'semantic-duplicate', looked for in this order. Rows without text stay.
 *
 * Rows are given as they come, unless the first one has a split, or `keep` or `grouping` needs all
 * of them: then they are held in a file. Memory for each row that stays: 60 bytes, for
 * near-duplicates 200 more and its text as UTF-8, for semantic ones its vector.
 *
 * @example
 * const { rows, report } = await dedupe(all, { near: { threshold: 0.8 } });
 * @throws DATA_TEXT, DATA_COLUMN, DATA_EMBEDDER, DATA_ENDPOINT, DATA_MODEL while rows are read;
 *   DATA_SPLIT_LATE where a row has a split and the first one has none
 * @see Broder 1997, "On the resemblance and containment of documents"; Lee et al. 2022,
 *   arXiv:2107.06499
 */
export const dedupe = stageFunction<DedupeOptions, DedupeReport>(dedupeStage);
