import { AttuneError } from '@attune/core';
import { describeValue, isPlainObject, snakeToCamel } from '@attune/core/util';
import { fromHub } from './fromHub.js';
import type { RowFiles } from './rowFiles.js';
import { fromFiles } from './sources.js';

/**
 * Rows as a file names them: a path, a pattern or several; `{ path, ...options of fromFiles }`;
 * `{ hub: owner/name, ...options of fromHub }`. Options may be in snake_case.
 *
 * @throws DATA_SOURCE; UNKNOWN_OPTION, INVALID_OPTION
 */
export function namedRows(value: unknown): RowFiles {
  if (isPaths(value)) return fromFiles(value);
  if (!isPlainObject(value)) throw wrong(`it is ${describeValue(value)}`);
  const { path, hub, ...rest } = value;
  const options = Object.fromEntries(
    Object.entries(rest).map(([key, item]) => [snakeToCamel(key), item]),
  );
  if ((path === undefined) === (hub === undefined))
    throw wrong(path === undefined ? 'it has neither path nor hub' : 'it has both path and hub');
  if (hub === undefined) {
    if (!isPaths(path)) throw wrong(`path is ${describeValue(path)}`);
    return fromFiles(path, options);
  }
  if (typeof hub !== 'string' || hub === '') throw wrong(`hub is ${describeValue(hub)}`);
  return fromHub(hub, options);
}

const isPaths = (value: unknown): value is string | string[] =>
  (typeof value === 'string' && value !== '') ||
  (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string'));

const wrong = (what: string): AttuneError =>
  new AttuneError(
    'DATA_SOURCE',
    `a source is a path, or { path: ... } or { hub: ... } with options; ${what}.`,
    { remedy: 'Write "raw/*.jsonl", { path: a.csv, delimiter: ";" } or { hub: owner/name }.' },
  );
