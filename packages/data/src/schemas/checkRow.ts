import type { Row } from '@attune/core';
import { otherModality } from '@attune/core/text';
import { isPlainObject } from '@attune/core/util';
import type { z } from 'zod';
import type { RoleIssue } from './messageSchema.js';
import { rowSchemas, type SchemaName } from './rowSchemas.js';

/** What is wrong with a row. */
export interface RowFault {
  /** Under which it is counted: "invalid messages". */
  readonly reason: string;
  /** The place and the value: `messages[2].content is 7; expected text, or a list of parts`. */
  readonly detail: string;
}

/** What a row lacks of a format; null: the Trainer takes it. All that is wrong is in the detail. */
export function checkRow(row: Row, schema: SchemaName): RowFault | null {
  const found = schemaFor(row, schema).safeParse(row);
  if (!found.success) return faultOf(found.error.issues, `invalid ${schema}`);
  const other = otherModality(row);
  if (other === null) return null;
  return { reason: 'not only text', detail: `${other} is no text, and training is of text alone` };
}

/** ShareGPT's turns stand in `messages`, too, which a Trainer looks at first. */
const schemaFor = (row: Row, schema: SchemaName): z.ZodType =>
  rowSchemas[schema === 'sharegpt' && row.messages != null ? 'messages' : schema];

/** Faults that one detail lists. */
const MOST = 5;

/** What issues of a schema say, with their paths. */
export function faultOf(
  issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[],
  reason: string,
): RowFault {
  const lines = issues.slice(0, MOST).map(({ message, path = [] }) => {
    const place = pathOf(path);
    return message.startsWith('is ') ? `${place} ${message}` : `${place}: ${message}`;
  });
  if (issues.length > MOST) lines.push(`${issues.length - MOST} more`);
  const unknown = issues.map(roleIn).find((role) => role !== null);
  return {
    reason: unknown === undefined ? reason : `unknown role ${JSON.stringify(unknown)}`,
    detail: lines.join('; '),
  };
}

/** The name of a role that is not in use, short enough to be counted by. */
function roleIn(issue: object): string | null {
  const { params } = issue as { params?: RoleIssue };
  return params === undefined ? null : params.role.slice(0, 32);
}

/** `messages[2].content`; of the row itself "the row". */
function pathOf(path: readonly unknown[]): string {
  const keys = path.map((key) => (isPlainObject(key) ? key.key : key));
  const text = keys
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`))
    .join('');
  return text === '' ? 'the row' : text;
}
