import { PythonPattern } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { fixtureJson } from '../models/support.js';

interface Row405 {
  readonly names: readonly string[];
  readonly patterns: readonly (readonly [string, string | null, string | null, string | null])[];
}

const { names, patterns } = fixtureJson('row405-python-regex.json') as Row405;

/**
 * As the fixture has it: a hexadecimal digit for four names, null for a pattern that is refused.
 */
function answers(source: string, call: (pattern: PythonPattern, name: string) => unknown) {
  let pattern: PythonPattern;
  try {
    pattern = new PythonPattern(source);
  } catch {
    return null;
  }
  const digits = names.map((name) => (call(pattern, name) ? '1' : '0')).join('');
  const padded = digits.padEnd(Math.ceil(digits.length / 4) * 4, '0');
  return padded.replace(/..../g, (four) => Number.parseInt(four, 2).toString(16));
}

/** What Python takes and this does not. */
const ABSENT = new Set([String.raw`\N{DIGIT ONE}`, String.raw`(a)(?<=\1)b`]);

/** Python runs what it makes of it; here it is too long. */
const TOO_LONG = new Set(['(a{1000}){1000}', '(?:a{0,100}){0,100}']);

describe("row 405: Python's answers", () => {
  test.each(patterns)('%j', (source, full, start, wrapped) => {
    if (ABSENT.has(source) || TOO_LONG.has(source)) {
      expect(() => new PythonPattern(source)).toThrow(/REGEX_INVALID/);
      return;
    }
    expect(answers(source, (pattern, name) => pattern.fullMatch(name))).toBe(full);
    expect(answers(source, (pattern, name) => pattern.match(name))).toBe(start);
    expect(answers(`(.*\\.)?(${source})$`, (pattern, name) => pattern.match(name))).toBe(wrapped);
  });
});

test('groups by name and by number', () => {
  const found = new PythonPattern(String.raw`(?:.*?\.)?layers\.(?P<idx>\d+)\.(x)?`).match(
    'model.layers.12.mlp',
  );
  expect(found?.text).toBe('model.layers.12.');
  expect(found?.group('idx')).toBe('12');
  expect(found?.group(1)).toBe('12');
  expect(found?.group(2)).toBeUndefined();
});

describe('an expression never takes seconds', () => {
  const long = `model.${'a'.repeat(200)}`;
  test.each([
    '(a+)+$',
    '(.*)*x',
    '(.*.*)*x',
    '(a|a)*b',
    '(x+x+)+y',
    '(?=(.*)*x)|(a|aa)+$',
    '(?>(a|aa)+)b',
  ])('%s: its steps grow with the length alone', (source) => {
    const pattern = new PythonPattern(`.*(?:${source})`);
    for (let i = 0; i < 50; i++) expect(pattern.fullMatch(`${long}!`)).toBeNull();
  });

  test.each([
    String.raw`.*(a|aa)+(b)?\2!`,
    '(c)?.*(a|aa)+(?(1)x|y)',
    '(?=(?=(?=.*x).*x).*x)'.repeat(3),
  ])('%s: ends with an answer or an error', (source) => {
    const pattern = new PythonPattern(source);
    try {
      for (let i = 0; i < 1000; i++) pattern.fullMatch(`${long}!`);
    } catch (error) {
      expect(String(error)).toMatch(/REGEX_TOO_SLOW.*backtracks/);
    }
  });

  test('nor does reading it', () => {
    expect(() => new PythonPattern('('.repeat(100_000))).toThrow(/more than 100 deep/);
    expect(() => new PythonPattern('(a{1000}){1000}')).toThrow(/more than 20000 steps/);
    new PythonPattern('a'.repeat(10_000));
  });
});

test('the error says what and where', () => {
  expect(() => new PythonPattern('model.(layers')).toThrowErrorMatchingInlineSnapshot(`
    [AttuneError: REGEX_INVALID: "model.(layers" is not a regular expression: missing ), unterminated subpattern, at position 13.
      Fix: Mend the expression; its syntax is that of Python's re.]
  `);
  expect(() => new PythonPattern('(?<name>q)')).toThrowErrorMatchingInlineSnapshot(`
    [AttuneError: REGEX_INVALID: "(?<name>q)" is not a regular expression: unknown extension ?<n, at position 4.
      Fix: Python names a group with (?P<name>...).]
  `);
});
