import type { Budget } from './errors.js';

/** Python counts texts in code points, JavaScript in UTF-16 units: the same without surrogates. */
const hasSurrogates = (text: string): boolean => /[\ud800-\udfff]/.test(text);

/** The characters, as Python's iteration gives them. */
export const letters = (text: string): string[] => [...text];

export function lengthOf(text: string): number {
  if (!hasSurrogates(text)) return text.length;
  let length = 0;
  for (let i = 0; i < text.length; i++, length++) if (text.codePointAt(i)! > 0xffff) i++;
  return length;
}

/** The code point index of a UTF-16 index. */
export const pointsBefore = (text: string, units: number): number =>
  units < 0 ? -1 : lengthOf(text.slice(0, units));

/** By code points, with Python's rules for bounds. */
export function sliceText(
  text: string,
  start: number,
  stop: number,
  step: number,
  budget: Budget,
): string {
  budget.spendText(text.length);
  const wide = hasSurrogates(text);
  if (wide || step !== 1) budget.spend(text.length / 8);
  if (!wide && step === 1) return text.slice(start, Math.max(stop, start));
  const all = wide ? letters(text) : text;
  let out = '';
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) out += all[i];
  return out;
}

export function letterAt(text: string, index: number, budget: Budget): string | undefined {
  const at = index < 0 ? index + lengthOf(text) : index;
  budget.spendText(text.length);
  if (!hasSurrogates(text)) return text[at];
  budget.spend(text.length / 16);
  return at < 0 ? undefined : letters(text)[at];
}

/** What str.isspace and \s call white space, as a pattern: not U+FEFF, which JavaScript trims. */
export const SPACE =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const space = new RegExp(`^${SPACE}$`);
export const isSpace = (letter: string): boolean => space.test(letter);

/** str.strip, lstrip, rstrip. @param characters null: white space */
export function strip(text: string, characters: string | null, atStart = true, atEnd = true) {
  const set = characters === null ? null : new Set(letters(characters));
  const stripped = (letter: string) => (set ? set.has(letter) : isSpace(letter));
  let [start, end] = [0, text.length];
  while (atStart && start < end) {
    const letter = String.fromCodePoint(text.codePointAt(start)!);
    if (!stripped(letter)) break;
    start += letter.length;
  }
  while (atEnd && end > start) {
    const low = /[\udc00-\udfff]/.test(text[end - 1]!) && end - 2 >= start;
    const letter = low && hasSurrogates(text[end - 2]!) ? text.slice(end - 2, end) : text[end - 1]!;
    if (!stripped(letter)) break;
    end -= letter.length;
  }
  return text.slice(start, end);
}

/** a < b by code points: negative, 0, positive. */
export function compareText(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i === end ? a.length - b.length : rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
}

/** A UTF-16 unit's place among code points: halves of pairs stand for the highest. */
const rank = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);

const word = new RegExp(SPACE.replace('[', '[^').concat('+'), 'g');

/** str.split without a separator: runs of white space, none at the ends. @param max -1: all */
export function splitSpaces(text: string, max: number, fromEnd: boolean): string[] {
  const words = [...text.matchAll(word)];
  if (max < 0 || words.length <= max) return words.map(([found]) => found);
  const kept = fromEnd ? words.slice(words.length - max) : words.slice(0, max);
  const texts = kept.map(([found]) => found);
  if (!fromEnd) return [...texts, text.slice(words[max]!.index)];
  const last = words[words.length - max - 1]!;
  return [text.slice(0, last.index + last[0].length), ...texts];
}

const lineEnds = [
  '\r\n',
  '\n',
  '\r',
  '\v',
  '\f',
  '\x1c',
  '\x1d',
  '\x1e',
  '\x85',
  '\u2028',
  '\u2029',
];
const lineEnd = new RegExp(lineEnds.join('|'), 'g');

export function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const match of text.matchAll(lineEnd)) {
    const end = match.index + match[0].length;
    lines.push(text.slice(start, keepEnds ? end : match.index));
    start = end;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}
