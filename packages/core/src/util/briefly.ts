import { JsonNumber } from './losslessJson.js';

/**
 * A value as JSON for a message, cut off after `maxLength` characters. Takes no more time than
 * that: values of files may be of any size.
 *
 * @param value plain, or of `parseJson`
 */
export function briefly(value: unknown, maxLength = 80): string {
  const text = write(value, maxLength + 1);
  return text.length > maxLength ? `${text.slice(0, maxLength)}...` : text;
}

function write(value: unknown, room: number): string {
  if (value instanceof JsonNumber) return value.text.slice(0, room);
  if (typeof value === 'string') return JSON.stringify(value.slice(0, room));
  // JSON writes null for NaN and infinities.
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? String(value);
  const isList = Array.isArray(value);
  let text = isList ? '[' : '{';
  const items: Iterable<readonly [unknown, unknown]> = isList
    ? value.entries()
    : value instanceof Map
      ? value
      : entries(value);
  let isFirst = true;
  for (const [key, item] of items) {
    if (text.length >= room) return text;
    if (!isFirst) text += ',';
    isFirst = false;
    if (!isList) text += `${write(key, room - text.length)}:`;
    text += write(item, room - text.length);
  }
  return text + (isList ? ']' : '}');
}

/** Object.entries would list all of them first. */
function* entries(value: object): Generator<readonly [string, unknown]> {
  for (const key in value)
    if (Object.hasOwn(value, key)) yield [key, (value as Record<string, unknown>)[key]];
}
