import { describeValue, isPlainObject } from '@attune/core/util';

/** Objects and arrays within one another that a row may have. */
const MOST_LEVELS = 256;

/** What within a row is no value of JSON. */
export interface StrangeValue {
  /** "meta.created", "tags[3]" */
  readonly path: string;
  /** What stands there: "a Date". */
  readonly what: string;
}

/**
 * Finds what a file of rows cannot hold as it is: a Date, a Map, bytes, a function, a row within
 * itself. Numbers may be BigInt; `undefined` is an absent field.
 */
export function strangeValue(value: unknown, path = '', level = 0): StrangeValue | null {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'bigint':
    case 'undefined':
      return null;
  }
  if (value === null) return null;
  if (level > MOST_LEVELS)
    return {
      path: `${path.slice(0, 40)}...`,
      what: `more than ${MOST_LEVELS} levels, or a row within itself`,
    };
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = strangeValue(value[i], `${path}[${i}]`, level + 1);
      if (found) return found;
    }
    return null;
  }
  if (!isPlainObject(value)) return { path, what: describeValue(value) };
  for (const key of Object.keys(value)) {
    const item = value[key];
    // Most values are text or numbers: no path is made for them.
    if (typeof item === 'string' || typeof item === 'number') continue;
    const found = strangeValue(item, path === '' ? key : `${path}.${key}`, level + 1);
    if (found) return found;
  }
  return null;
}
