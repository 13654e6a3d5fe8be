import { AttuneError, type Row } from '@attune/core';
import { briefly, isPlainObject, nearest } from '@attune/core/util';

/** The rows that something takes, as an error lists them. */
export interface RowFormat {
  /** What takes them: "a preference pair". */
  readonly what: string;
  /** The remedy of its errors. */
  readonly accepted: string;
  /** Names of columns, for "did you mean". */
  readonly columns: readonly string[];
}

/** ROW_FORMAT: names the row and the value, and lists what is accepted. */
export const rowError = (origin: string, message: string, { accepted }: RowFormat): AttuneError =>
  new AttuneError('ROW_FORMAT', `${origin}: ${message}`, {
    remedy: `Accepted: ${accepted}.`,
    details: { origin },
  });

/** @throws ROW_FORMAT for what is no object with named fields */
export function fieldsOf(row: unknown, origin: string, format: RowFormat): Row {
  if (isPlainObject(row)) return row;
  throw rowError(
    origin,
    `a row is an object with named fields; this is ${briefly(row, 60)}.`,
    format,
  );
}

/** That a column is missing, with the columns that are there and the one that was likely meant. */
export function missingColumn(
  column: string,
  row: Row,
  origin: string,
  format: RowFormat,
): AttuneError {
  if (column in row)
    return rowError(
      origin,
      `"${column}" is ${briefly(row[column], 60)}; ${format.what} needs it.`,
      format,
    );
  const found = Object.keys(row);
  const near = nearest(
    column,
    found.filter((name) => !format.columns.includes(name)),
  );
  const list =
    found.length > 0 ? `the columns ${found.map((f) => `"${f}"`).join(', ')}` : 'no columns';
  return rowError(
    origin,
    `${format.what} needs "${column}", and the row has ${list}.${near === undefined ? '' : ` Is "${near}" meant?`}`,
    format,
  );
}

/** Columns with something in them that have no place in a row of this format. */
export const unusedColumns = (row: Row, { columns }: RowFormat): string[] =>
  Object.keys(row).filter(
    (name) => row[name] != null && row[name] !== '' && !columns.includes(name),
  );
