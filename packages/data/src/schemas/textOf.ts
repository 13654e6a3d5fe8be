import { AttuneError, type Row } from '@attune/core';
import { describeValue } from '@attune/core/util';
import { type DataRow, formatOrigin } from '../contract/dataRow.js';

/** The text of a row with its origin. @throws DATA_TEXT */
export type TextOf = (item: DataRow) => string;

/**
 * What a function of a user says of rows, which may give anything.
 *
 * @param where who asks, for messages: "dedupe"
 */
export const textOf =
  (text: (row: Row) => unknown, where: string): TextOf =>
  ({ row, origin }) => {
    const found = text(row);
    if (typeof found === 'string') return found;
    throw new AttuneError(
      'DATA_TEXT',
      `${where}: text gave ${describeValue(found)} for ${formatOrigin(origin)}; expected a string.`,
      { remedy: 'Return "" for a row that has nothing to compare.' },
    );
  };
