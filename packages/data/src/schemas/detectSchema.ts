import type { Row } from '@attune/core';
import { isPlainObject } from '@attune/core/util';
import type { SchemaName } from './rowSchemas.js';

/**
 * The format that the columns of a row say it has; its values may still be wrong.
 *
 * @returns null: none of them
 */
export function schemaOf(row: Row): SchemaName | null {
  const has = (column: string) => row[column] != null;
  if (has('input_ids') || has('inputIds')) return 'tokens';
  if (has('chosen') && has('rejected')) return 'preference';
  if (has('prompt') && has('completion'))
    return isLabel(row.label) ? 'unpaired' : 'prompt-completion';
  if (has('messages')) return isShareGpt(row.messages) ? 'sharegpt' : 'messages';
  if (has('conversations')) return 'sharegpt';
  if (has('instruction') && has('output')) return 'alpaca';
  if (has('text')) return 'text';
  return has('prompt') ? 'prompt' : null;
}

/**
 * The format that `SFTTrainer` takes a row as which has the columns of several: it looks at no
 * answers of a pair, and at no label.
 */
export const sftSchemaOf = (row: Row): SchemaName | null =>
  schemaOf({ ...row, chosen: null, rejected: null, label: null });

/** Whether a column called "label" is one of preferences: others are called so, too. */
const isLabel = (value: unknown): boolean =>
  typeof value === 'boolean' ||
  value === 0 ||
  value === 1 ||
  value === -1 ||
  (typeof value === 'string' && /^(true|false)$/i.test(value));

/** Whether messages are ShareGPT's under another name. */
function isShareGpt(messages: unknown): boolean {
  const first: unknown = Array.isArray(messages) ? messages[0] : null;
  return isPlainObject(first) && 'from' in first && !('role' in first);
}

/**
 * The format that most rows have.
 *
 * @param rows the first hundred, say
 * @returns null: most rows have none of the known ones
 */
export function detectSchema(rows: Iterable<Row>): SchemaName | null {
  const counts = new Map<SchemaName | null, number>();
  for (const row of rows) {
    const schema = isPlainObject(row) ? schemaOf(row) : null;
    counts.set(schema, (counts.get(schema) ?? 0) + 1);
  }
  let most: SchemaName | null = null;
  for (const [schema, count] of counts) if (count > (counts.get(most) ?? 0)) most = schema;
  return most;
}
