/**
 * What a value is, as a message calls it: `text "a"`, `a promise (not awaited)`, `a Tokenizer`,
 * `nothing`.
 */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing (undefined)';
  if (value === null) return 'null';
  if (typeof value === 'string')
    return `text ${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)}`;
  if (typeof value === 'function') {
    const isClass = /^class\b/.test(Function.prototype.toString.call(value));
    return `${isClass ? 'the class' : 'a function'}${value.name ? ` ${value.name}` : ''}`;
  }
  if (typeof value !== 'object') return `${typeof value} ${String(value)}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof (value as PromiseLike<unknown>).then === 'function') return 'a promise (not awaited)';
  const name: unknown = value.constructor?.name;
  if (typeof name === 'string' && name !== 'Object') return `a ${name}`;
  const keys = Object.keys(value);
  return keys.length === 0 ? 'an empty object' : `an object with ${keys.slice(0, 4).join(', ')}`;
}

/** Whether a value can be awaited for something. */
export const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
