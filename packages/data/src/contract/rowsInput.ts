import { AttuneError, type Row } from '@attune/core';
import { describeValue, isPlainObject } from '@attune/core/util';
import type { ReadRow } from './dataRow.js';

/** Rows as a caller has them: plain ones, or with their origin as `readRows` gives them. */
export type RowsInput = Iterable<Row | ReadRow> | AsyncIterable<Row | ReadRow>;

/** What an item is: { row, origin } or { problem, origin } with a file and a number in `origin`. */
function isReadRow(item: Row | ReadRow): item is ReadRow {
  const { origin } = item;
  if (!isPlainObject(origin) || typeof origin.file !== 'string') return false;
  return typeof origin.row === 'number' && ('row' in item || 'problem' in item);
}

/** A text is iterable, and no rows. @throws DATA_ROWS */
export function checkRows(rows: unknown, name: string): void {
  if (typeof rows === 'object' && rows !== null)
    if (Symbol.iterator in rows || Symbol.asyncIterator in rows) return;
  throw new AttuneError(
    'DATA_ROWS',
    `${name} is ${describeValue(rows)}; expected rows: an array, an iterable, or what fromJsonl and its like give.`,
    {
      remedy:
        typeof rows === 'string' ? `Write fromFiles(${JSON.stringify(rows)}).` : 'Give such rows.',
    },
  );
}

/** Gives rows that have no origin the one of their place: "rows[3]". */
export async function* withOrigins(rows: RowsInput, name = 'rows'): AsyncGenerator<ReadRow> {
  checkRows(rows, name);
  let index = 0;
  for await (const item of rows) {
    yield isReadRow(item)
      ? item
      : isPlainObject(item)
        ? { row: item, origin: { file: name, row: index } }
        : {
            problem: `a row is an object with named fields; this is ${JSON.stringify(item)?.slice(0, 60)}.`,
            origin: { file: name, row: index },
          };
    index++;
  }
}
