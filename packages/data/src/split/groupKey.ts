import type { Row } from '@attune/core';
import { isPlainObject } from '@attune/core/util';
import { rowToJson } from '../pipeline/rowLines.js';

/** A value of a row: of a column, of a path into it ("meta.id"), or what a function makes of it. */
export type RowValue = string | ((row: Row) => unknown);

/**
 * A value as text, so that 1, 1n and "1" are the same group: files write identifiers as numbers or
 * as text.
 *
 * @returns null where there is none: the column is absent, null or an empty text
 */
export function keyOf(row: Row, by: RowValue): string | null {
  const value = typeof by === 'function' ? by(row) : valueAt(row, by);
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'object') return rowToJson(value as Row);
  return String(value);
}

/** A column of that very name comes first, so that names with dots work. */
function valueAt(row: Row, path: string): unknown {
  if (Object.hasOwn(row, path)) return row[path];
  let value: unknown = row;
  for (const name of path.split('.')) {
    if (Array.isArray(value)) value = value[Number(name)];
    else if (isPlainObject(value) && Object.hasOwn(value, name)) value = value[name];
    else return undefined;
  }
  return value;
}

/** For messages: "document_id", or "a function". */
export const describeValueOf = (by: RowValue): string =>
  typeof by === 'function' ? 'a function' : `"${by}"`;
