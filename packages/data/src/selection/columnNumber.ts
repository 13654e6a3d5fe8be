import type { Row } from '@attune/core';

/** The number in a column of a row; null: there is none, or it is not finite. */
export function columnNumber(row: Row, column: string): number | null {
  const value = row[column];
  const number = typeof value === 'bigint' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}
