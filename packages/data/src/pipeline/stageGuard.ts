import { AttuneError } from '@attune/core';
import { describeValue, isPlainObject } from '@attune/core/util';
import { type DataRow, formatOrigin, type SplitName } from '../contract/dataRow.js';
import { strangeValue } from '../contract/rowValue.js';
import type { StageTally } from './stageTally.js';

const SPLITS: readonly unknown[] = [undefined, 'train', 'validation', 'test'] satisfies readonly (
  | SplitName
  | undefined
)[];

const EXAMPLE = 'Write it as: async *run(rows) { for await (const item of rows) yield item; }';

const outputError = (stage: string, what: string, remedy: string) =>
  new AttuneError('DATA_STAGE_OUTPUT', `the stage "${stage}" gave ${what}.`, { remedy });

/** @throws DATA_STAGE_OUTPUT where a stage gives something else than rows one by one */
export function checkOutputRows(rows: unknown, stage: string): void {
  if (
    typeof (rows as Partial<AsyncIterable<unknown>> | null)?.[Symbol.asyncIterator] === 'function'
  )
    return;
  throw outputError(stage, `${describeValue(rows)}; expected an async iterable of rows`, EXAMPLE);
}

/**
 * @param known a row that was looked at before
 * @throws DATA_STAGE_OUTPUT for an item that is no row with its origin; DATA_ROW_VALUE
 */
export function checkOutputRow(item: DataRow, stage: string, known: unknown): void {
  if (!isPlainObject(item) || typeof item.origin?.file !== 'string')
    throw outputError(
      stage,
      `${describeValue(item)} as a row; expected { row, origin }, as it was given`,
      'Yield the item that came in, or { ...item, row: changed }.',
    );
  const { row, split } = item;
  if (!SPLITS.includes(split))
    throw outputError(
      stage,
      `${formatOrigin(item.origin)} the split ${JSON.stringify(split)}`,
      'A split is "train", "validation" or "test".',
    );
  if (row === known) return;
  if (!isPlainObject(row))
    throw outputError(
      stage,
      `${describeValue(row)} as the row of ${formatOrigin(item.origin)}; expected an object with named fields`,
      'A row that has no place in the result is dropped, with its reason, by `filter` or context.drop.',
    );
  checkRowValues(item, `of the stage "${stage}"`);
}

/** @throws DATA_ROW_VALUE for a value that no file of rows can hold */
export function checkRowValues({ row, origin }: DataRow, whose: string): void {
  const found = strangeValue(row);
  if (found !== null)
    throw valueError(
      `a row ${whose}, ${formatOrigin(origin)}, has at "${found.path}" ${found.what}`,
    );
}

/** @throws DATA_ROW_VALUE for a fact that no report can hold */
export function checkFact(name: string, value: unknown, stage: string): void {
  const found = strangeValue(value, name);
  if (found !== null)
    throw valueError(`a fact of the stage "${stage}" has at "${found.path}" ${found.what}`);
}

const valueError = (what: string) =>
  new AttuneError(
    'DATA_ROW_VALUE',
    `${what}; expected text, a number, true, false, null, a list or an object.`,
    { remedy: 'Write it as one of those: a Date as date.toISOString(), a Map as an object.' },
  );

/** @throws DATA_STAGE_OUTPUT for a row that is lost without a word why */
export function checkReason(reason: unknown, kind: 'dropped' | 'quarantined', stage: string): void {
  if (typeof reason === 'string' && reason.trim() !== '') return;
  throw new AttuneError(
    'DATA_STAGE_OUTPUT',
    `the stage "${stage}" ${kind} a row for ${describeValue(reason)}; expected a reason.`,
    { remedy: 'Give a few words, the same for all such rows: context.drop(item, "too long").' },
  );
}

/**
 * Rows of a stage that is given others than those that are counted.
 *
 * @throws DATA_ROWS_LOST where it ends before it has read all of them
 */
export async function* wholly(
  input: AsyncIterable<DataRow>,
  tally: StageTally,
  run: (rows: AsyncIterable<DataRow>) => AsyncIterable<DataRow>,
): AsyncGenerator<DataRow> {
  let isRead = false;
  async function* reading() {
    yield* input;
    isRead = true;
  }
  const given = reading();
  const rows = run(given);
  checkOutputRows(rows, tally.name);
  yield* rows;
  if (!isRead) await given.next();
  if (!isRead) throw tally.endedEarly();
}
