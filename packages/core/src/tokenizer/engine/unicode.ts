import { type CharSet, setOf } from './charSet.js';

/**
 * Sets of characters as the Rust library has them. They are made for each tokenizer: a set keeps
 * what it was asked.
 */
export const charSets = {
  whiteSpace: (): CharSet => setOf(/^\p{White_Space}$/u),
  numeric: (): CharSet => setOf(/^\p{N}$/u),
  punctuation: (): CharSet => setOf(/^[\p{P}$+<=>^`|~]$/u),
  /** \w of Rust's regex. */
  word: (): CharSet => setOf(/^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u),
  mark: (): CharSet => setOf(/^\p{M}$/u),
  nonspacingMark: (): CharSet => setOf(/^\p{Mn}$/u),
  control: (): CharSet => setOf(/^[\p{Cc}\p{Cf}\p{Co}]$/u),
  ideograph: (): CharSet =>
    setOf(
      /^[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]$/u,
    ),
};

/**
 * What each byte is written as by byte-level vocabularies (GPT-2): printable bytes of Latin-1 are
 * themselves.
 */
export const byteLetters: readonly string[] = letters();

function letters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : next++);
  });
}

const byteOfLetter: ReadonlyMap<string, number> = new Map(
  byteLetters.map((letter, byte) => [letter, byte]),
);

/**
 * The bytes that a token of a byte-level vocabulary stands for; null when it has other characters.
 */
export function bytesOfLetters(token: string): number[] | null {
  const bytes: number[] = [];
  for (const letter of token) {
    const byte = byteOfLetter.get(letter);
    if (byte === undefined) return null;
    bytes.push(byte);
  }
  return bytes;
}
