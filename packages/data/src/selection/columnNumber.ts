import type { Row } from '@attune/core';

/** The number in a column of a row; null: there is none, or it is not finite. */
export const columnNumber = (row: Row, column: string): number | null => numberOf(row[column]);

/** The numbers of a list in a column, or the one number; null: it has others, or none. */
export function columnNumbers(row: Row, column: string): readonly number[] | null {
  const value = row[column];
  const numbers = (Array.isArray(value) ? value : [value]).map(numberOf);
  return numbers.length > 0 && numbers.every((number) => number !== null) ? numbers : null;
}

function numberOf(value: unknown): number | null {
  const number = typeof value === 'bigint' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}
