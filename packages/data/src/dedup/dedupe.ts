import type { StageContext } from '../contract/dataStage.js';
import { defineDataStage } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { DedupeRun } from './dedupeRun.js';
import { type DedupeOptions, dedupeSchema } from './options.js';

/** Leaves out rows that are copies, or nearly, of one that stays. */
export const dedupeStage = defineDataStage({
  name: 'dedupe',
  options: dedupeSchema,
  run: (rows, plan, context: StageContext) => new DedupeRun(plan, context).run(rows),
});

/**
 * Leaves out rows that are copies, or nearly, of one that stays. Reasons: 'duplicate',
 * 'near-duplicate'.
 *
 * Memory: 200 bytes a row and, for near-duplicates, its text as UTF-8. Rows are given as they come
 * unless they have a split, or `keep` or `grouping` needs all of them: those are held in a file.
 *
 * @example
 * const { rows, report } = await dedupe(all, { near: { threshold: 0.8 } });
 * @see Broder 1997, "On the resemblance and containment of documents"; Lee et al. 2022,
 *   arXiv:2107.06499
 */
export const dedupe = stageFunction<DedupeOptions>(dedupeStage);
