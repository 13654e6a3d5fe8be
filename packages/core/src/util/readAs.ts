import { type JsonValue, type ParseJsonOptions, parseJson, plainJson } from './losslessJson.js';

/**
 * Where a plain value remembers how its file wrote it. Not enumerable: nothing but a reader sees
 * it.
 */
const source = Symbol.for('attune.readAs');

/**
 * What a list or object was read from, as its file spells it; undefined where nobody remembered.
 */
export const readAs = (value: object): JsonValue | undefined =>
  (value as { readonly [source]?: JsonValue })[source];

/** A copy of a list or object that remembers what the original does. */
export function remembering<T extends object>(copy: T, original: object): T {
  const like = readAs(original);
  return like === undefined ? copy : Object.defineProperty(copy, source, { value: like });
}

/**
 * Numbers that JSON.parse reads as others than Python would write (`1.0`, `1e5`, `-0`, more than 15
 * digits), and keys that JavaScript moves to the front.
 */
const loses = /[:[,]\s*-?(?:\d+\.0+(?!\d)|\d+(?:\.\d+)?[eE]|\d{16})|-0(?![.\d])|"\d+"\s*:/;

/**
 * `parseJson` as plain values whose lists and objects remember how numbers were spelt and in which
 * order keys stood, where that matters to a reader such as a chat template.
 *
 * @throws SyntaxError
 */
export function parseRemembering(text: string, options: ParseJsonOptions = {}): unknown {
  const read = parseJson(text, options);
  const value = plainJson(read);
  if (loses.test(text)) remember(value, read);
  return value;
}

function remember(value: unknown, like: JsonValue | undefined): void {
  if (typeof value !== 'object' || value === null || typeof like !== 'object') return;
  Object.defineProperty(value, source, { value: like });
  if (Array.isArray(value))
    for (const [i, item] of value.entries()) remember(item, (like as readonly JsonValue[])[i]);
  else
    for (const [key, item] of Object.entries(value))
      remember(item, (like as ReadonlyMap<string, JsonValue>).get(key));
}
