import type { Row } from '@attune/core';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, isProblem, type ReadRow } from '../contract/dataRow.js';
import { type RowsInput, withOrigins } from '../contract/rowsInput.js';
import { rowText } from '../schemas/rowText.js';
import { type TextOf, textOf } from '../schemas/textOf.js';
import { type Leak, LeakFinder, type LeakReport } from './leakFinder.js';

const leakShape = {
  /** Words of an n-gram. A row of fewer words is compared whole. Default 8. */
  n: z.int().min(1).max(64).default(8).meta({ aka: 'ngram ngramsize size' }),
  /**
   * Least share of the n-grams of an evaluation row that a training row has. Default 0.2, below
   * which Llama 2 calls a row clean (arXiv:2307.09288, A.6); 0: one n-gram is enough.
   */
  minOverlap: z.number().min(0).max(1).default(0.2).meta({ aka: 'threshold' }),
  /** What is compared. Default: all text of a row, prompts and answers. */
  text: z
    .custom<(row: Row) => string>(
      (value) => typeof value === 'function',
      'expected a function of a row',
    )
    .default(() => rowText),
};
const leakOptions = z.strictObject(leakShape);

/** Options of {@link findLeaks}. */
export type FindLeaksOptions = OptionsInput<typeof leakShape>;

/**
 * Finds rows of an evaluation set in a training set: the share of the word n-grams of each that a
 * training row has. Case, width, punctuation and white space do not count. Passages that many rows
 * of both sets have, such as a system prompt, do not count either; {@link leakReport} names them.
 *
 * The evaluation set is held in memory, the training set is read once, row by row.
 *
 * @returns each pair once, by evaluation row, the largest overlap first. At most 1000
 *   training rows are named for one, and `trainRows` says how many there are
 * @throws UNKNOWN_OPTION, INVALID_OPTION, DATA_TEXT
 * @example
 * for (const { evalIndex, trainIndex, overlap } of await findLeaks(train, test, { n: 8 })) { ... }
 */
export async function findLeaks(
  train: RowsInput,
  evaluation: RowsInput,
  options: FindLeaksOptions = {},
): Promise<readonly Leak[]> {
  const { leaks } = await report(train, evaluation, options, 'findLeaks');
  return leaks;
}

/** As {@link findLeaks}, with what many rows of both sets have. */
export const leakReport = (
  train: RowsInput,
  evaluation: RowsInput,
  options: FindLeaksOptions = {},
): Promise<LeakReport> => report(train, evaluation, options, 'leakReport');

async function report(
  train: RowsInput,
  evaluation: RowsInput,
  options: FindLeaksOptions,
  where: string,
): Promise<LeakReport> {
  const { n, minOverlap, text } = parseOptions(leakOptions, options, { where });
  const finder = new LeakFinder({ n, minOverlap });
  const asText = textOf(text, where);
  for await (const read of withOrigins(evaluation, 'eval')) finder.addEval(...place(read, asText));
  for await (const read of withOrigins(train, 'train')) finder.addTrain(...place(read, asText));
  return finder.report();
}

/** A place without a row counts, so that indices are places of what was given. */
const place = (read: ReadRow, asText: TextOf): [DataRow, string] =>
  isProblem(read) ? [{ row: {}, origin: read.origin }, ''] : [read, asText(read)];
