import type { Reader } from './reader.js';

const CONTROL: Readonly<Record<string, number>> = {
  a: 7,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
};

const HEX: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/**
 * The character that an escape means, its backslash and letter being read: `\n`, `\x41`, `\.`; null
 * for what is no character (classes, places, references), which the caller knows.
 *
 * @throws REGEX_INVALID for letters without a meaning, as Python
 */
export function escapedCharacter(reader: Reader, letter: string): number | null {
  if (letter in CONTROL) return CONTROL[letter]!;
  const digits = HEX[letter];
  if (digits !== undefined) {
    const hex = reader.takeWhile(/[0-9a-fA-F]/, digits);
    const code = Number.parseInt(hex, 16);
    if (hex.length !== digits || code > 0x10ffff)
      throw reader.error(`incomplete escape \\${letter}${hex}`);
    return code;
  }
  if (letter === 'N')
    throw reader.error(
      'characters by name (\\N{...}) are not supported here',
      'Write the character itself, or \\u and its four hexadecimal digits.',
    );
  if (letter === '0') return Number.parseInt(`0${reader.takeWhile(/[0-7]/, 2)}`, 8);
  if (/[A-Za-z]/.test(letter)) throw reader.error(`bad escape \\${letter}`);
  return /[0-9]/.test(letter) ? null : letter.codePointAt(0)!;
}

/**
 * Three octal digits, of which `first` is read already, mean a character; else null and nothing is
 * read.
 */
export function octalCharacter(reader: Reader, first: string): number | null {
  const start = reader.at;
  const digits = first + reader.takeWhile(/[0-7]/, 2);
  if (digits.length === 3 && /^[0-7]{3}$/.test(digits)) {
    const code = Number.parseInt(digits, 8);
    if (code > 0o377) throw reader.error(`octal escape \\${digits} outside of range 0-0o377`);
    return code;
  }
  reader.at = start;
  return null;
}
