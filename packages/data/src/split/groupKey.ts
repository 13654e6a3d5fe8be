import { AttuneError, type Row } from '@attune/core';
import { describeValue, isPlainObject, isPromise } from '@attune/core/util';
import { valueToJson } from '../pipeline/rowLines.js';

/** A value of a row: of a column, of a path into it ("meta.id"), or what a function makes of it. */
export type RowValue = string | ((row: Row) => unknown);

/**
 * A value as text, so that 1, 1n and "1" are the same group: files write identifiers as numbers or
 * as text.
 *
 * @returns null where there is none: the column is absent, null, an empty text or no finite number
 * @throws DATA_KEY for what is no value of JSON
 */
export function keyOf(row: Row, by: RowValue): string | null {
  const value = typeof by === 'function' ? by(row) : valueAt(row, by);
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : null;
  if (typeof value === 'function' || typeof value === 'symbol' || isPromise(value))
    throw new AttuneError(
      'DATA_KEY',
      `split: ${describeValueOf(by)} gave ${describeValue(value)}; expected text, a number or another value of JSON.`,
      { remedy: 'Give what rows of one group have in common, without waiting for it.' },
    );
  if (typeof value !== 'object') return String(value);
  // A date is one text, whether it was held in a file meanwhile or not.
  const json = valueToJson(sorted(value));
  return json.startsWith('"') ? String(JSON.parse(json)) : json;
}

/** With the keys of its objects in order: the order in a file plays no part. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isPlainObject(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}

/** A column of that very name comes first, so that names with dots work. */
function valueAt(row: Row, path: string): unknown {
  if (Object.hasOwn(row, path)) return row[path];
  let value: unknown = row;
  for (const name of path.split('.')) {
    if (Array.isArray(value)) value = /^\d+$/.test(name) ? value[Number(name)] : undefined;
    else if (isPlainObject(value) && Object.hasOwn(value, name)) value = value[name];
    else return undefined;
  }
  return value;
}

/** For messages: "document_id", or "a function". */
export const describeValueOf = (by: RowValue): string =>
  typeof by === 'function' ? 'a function' : `"${by}"`;
