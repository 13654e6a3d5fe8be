import { AttuneError, type Row } from '@attune/core';

/** A row without the columns that were read, with others in their place. */
export function withColumns(row: Row, without: readonly string[], columns: Row): Row {
  const kept = Object.entries(row).filter(
    ([name]) => !without.includes(name) && !Object.hasOwn(columns, name),
  );
  return { ...columns, ...Object.fromEntries(kept) };
}

/** ROW_FORMAT: why a row cannot be made into another format. */
export const cannot = (from: string, to: string, why: string | undefined): AttuneError =>
  new AttuneError('ROW_FORMAT', `${from} cannot become ${to}: ${why ?? 'it has too little'}.`, {
    remedy: 'Choose another schema, or change such rows by a map stage.',
  });
