import { createHash } from 'node:crypto';

/** SHA-256 of a value as JSON with sorted keys, in hexadecimal: equal values, equal keys. */
export const cacheKey = (value: unknown): string =>
  createHash('sha256').update(sortedJson(value)).digest('hex');

function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}:${sortedJson(item)}`);
  return `{${entries.join(',')}}`;
}
