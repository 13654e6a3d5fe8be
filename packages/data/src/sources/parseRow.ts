import type { Row } from '@attune/core';
import { briefly, JsonNumber, type JsonValue, parseJson } from '@attune/core/util';
import type { JsonRules } from './options.js';

/** Lists and objects within one another: JSON.stringify could not write much deeper ones. */
const MAX_DEPTH = 256;

/** Digits of the longest integer: to read one takes the square of its length. */
const MAX_DIGITS = 10_000;

const [COLON, QUOTE, SPACE, BACKSLASH, OPEN, CLOSE] = [':', 0x22, 0x20, 0x5c, 0x7b, 0x7d];

/** Why a text is no row. */
export class NoRow {
  constructor(
    readonly problem: string,
    /** Line within the text, from 1 on. */
    readonly line = 1,
  ) {}
}

/**
 * The row that a JSON text is, as JSON.parse reads it, but nothing is lost: integers beyond 2^53
 * are BigInts; a key twice, a key `__proto__`, a number beyond float64 and nesting deeper than 256
 * are no rows.
 *
 * JSON.parse is ten times as fast as a parser in JavaScript. So it reads, and only a row in which
 * it may have lost something is read again.
 */
export function parseRow(text: string, rules: JsonRules): Row | NoRow {
  // JSON.parse takes 40 bytes for each bracket that is open, and ends the process for want of them.
  if (text.length > LONG_TEXT && isDeep(text)) return parseSlowly(text, rules);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return parseSlowly(text, rules);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return noObject(value);
  // As many declared keys as there are: none came twice.
  return declaredKeys(text) === keysOf(value, 1) ? (value as Row) : parseSlowly(text, rules);
}

/** Characters of a text whose brackets take no memory to speak of. */
const LONG_TEXT = 100_000;

/** Whether lists and objects are nested deeper than is read. */
function isDeep(text: string): boolean {
  let depth = 0;
  let inText = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inText) {
      if (code === BACKSLASH) at++;
      else if (code === QUOTE) inText = false;
    } else if (code === QUOTE) inText = true;
    // [ and {, ] and } differ by one bit from one another.
    else if ((code | 0x20) === OPEN && ++depth > MAX_DEPTH) return true;
    else if ((code | 0x20) === CLOSE) depth--;
  }
  return false;
}

/** Keys of a value and all within it; NaN where JSON.parse may have lost something. */
function keysOf(value: unknown, depth: number): number {
  if (typeof value === 'number') return value < 2 ** 53 && value > -(2 ** 53) ? 0 : Number.NaN;
  if (typeof value !== 'object' || value === null) return 0;
  if (depth > MAX_DEPTH) return Number.NaN;
  let keys = 0;
  if (Array.isArray(value)) {
    for (const item of value) keys += keysOf(item, depth + 1);
    return keys;
  }
  const object = value as Readonly<Record<string, unknown>>;
  for (const key in object) {
    if (key === '__proto__') return Number.NaN;
    keys += 1 + keysOf(object[key], depth + 1);
  }
  return keys;
}

/** How often a colon follows a quotation mark: at least once for each key of a JSON text. */
function declaredKeys(text: string): number {
  let keys = 0;
  for (let at = text.indexOf(COLON); at >= 0; at = text.indexOf(COLON, at + 1)) {
    let before = at - 1;
    while (text.charCodeAt(before) <= SPACE) before--;
    if (text.charCodeAt(before) === QUOTE) keys++;
  }
  return keys;
}

function parseSlowly(text: string, rules: JsonRules): Row | NoRow {
  let value: unknown;
  try {
    value = plainValue(
      parseJson(text, {
        maxDepth: MAX_DEPTH,
        protoKey: 'refuse',
        overflow: 'refuse',
        duplicateKeys: rules.duplicateKeys,
        nonFinite: rules.nonFinite === 'null',
      }),
    );
  } catch (error) {
    const { message } = error as Error;
    const [, problem = message, line = '1', column] =
      /^(.*), at line (\d+), column (\d+)$/s.exec(message) ?? [];
    const where = column === undefined ? '' : `, at column ${column}`;
    const hint = /^"[NI-]" where a value/.test(problem) ? nonFiniteHint(text) : '';
    return new NoRow(
      `not JSON: ${problem}${where}${Number(line) > 1 ? ` of its line ${line}` : ''}${hint}.`,
      Number(line),
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return noObject(value);
  return value as Row;
}

const nonFiniteHint = (text: string): string =>
  /[:[,]\s*(NaN|-?Infinity)/.test(text) ? ' (nonFinite: "null" reads null for NaN)' : '';

const noObject = (value: unknown): NoRow =>
  new NoRow(
    `a row is an object with named fields, e.g. {"text": "..."}; this is ${briefly(value, 60)}.`,
  );

/** @throws SyntaxError for an integer of more than 10,000 digits */
function plainValue(value: JsonValue): unknown {
  if (value instanceof JsonNumber) {
    const number = value.value;
    if (!Number.isFinite(number)) return null;
    if (Number.isSafeInteger(number) || !value.isInteger) return number;
    if (value.text.length > MAX_DIGITS)
      throw new SyntaxError(`an integer of ${value.text.length} digits`);
    return BigInt(value.text);
  }
  if (Array.isArray(value)) return value.map(plainValue);
  if (!(value instanceof Map)) return value;
  const object: Record<string, unknown> = {};
  // `__proto__` was refused: an assignment makes a key of every other name.
  for (const [key, item] of value as ReadonlyMap<string, JsonValue>) object[key] = plainValue(item);
  return object;
}
