import type { Row } from '@attune/core';
import { isPlainObject } from '@attune/core/util';
import { redactPii } from '../pii/findPii.js';
import type { PiiKind } from '../pii/piiKinds.js';

/** A row with personal data replaced in all of its strings. The same row where there is none. */
export function redactRow(row: Row, kinds: readonly PiiKind[]): Row {
  return redacted(row, kinds) as Row;
}

function redacted(value: unknown, kinds: readonly PiiKind[]): unknown {
  if (typeof value === 'string') return redactPii(value, kinds);
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => redacted(item, kinds));
    return items.some((item, i) => item !== value[i]) ? items : value;
  }
  if (!isPlainObject(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, redacted(item, kinds)] as const);
  return entries.some(([key, item]) => item !== value[key]) ? Object.fromEntries(entries) : value;
}
