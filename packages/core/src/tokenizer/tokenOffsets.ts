import type { Span } from './chatTemplate.js';

/** How a vocabulary writes bytes: GPT-2's letters for bytes, or SentencePiece's ▁ and <0xE2>. */
export type Spelling = 'byteLevel' | 'sentencePiece';

/**
 * Which of `tokens` hold a part of one of `spans`. The tokens are laid along the text byte by byte; a
 * space that the tokenizer put in front of a text and white space that an added token swallowed are passed over.
 *
 * @param tokens names in the vocabulary, in order
 * @param isAdded whether a token is an added one, which is spelt as it is
 * @returns null when the tokens are not the text: a normaliser changed it, or something is unknown
 */
export function tokensInSpans(
  text: string,
  tokens: readonly string[],
  spans: readonly Span[],
  spelling: Spelling,
  isAdded: (index: number) => boolean,
): boolean[] | null {
  const bytes = Buffer.from(text, 'utf8');
  const byteAt = (index: number) => Buffer.byteLength(text.slice(0, index), 'utf8');
  const wanted = spans.map(([start, end]) => [byteAt(start), byteAt(end)] as const);
  const inside: boolean[] = [];
  let at = 0;
  const matches = (piece: Buffer) => piece.equals(bytes.subarray(at, at + piece.length));
  const skipSpace = () => {
    while (at < bytes.length && WHITESPACE.has(bytes[at]!)) at++;
  };
  for (const [i, token] of tokens.entries()) {
    let piece = isAdded(i) ? Buffer.from(token, 'utf8') : spell[spelling](token);
    if (!piece) return null;
    if (!matches(piece) && piece[0] === SPACE) piece = piece.subarray(1);
    if (!matches(piece)) skipSpace();
    if (!matches(piece)) return null;
    const end = at + piece.length;
    inside.push(wanted.some(([from, to]) => at < to && end > from));
    at = end;
  }
  skipSpace();
  return at === bytes.length ? inside : null;
}

const SPACE = 0x20;
const WHITESPACE: ReadonlySet<number> = new Set([SPACE, 0x09, 0x0a, 0x0d]);

const spell: Readonly<Record<Spelling, (token: string) => Buffer | null>> = {
  byteLevel: (token) => {
    const bytes = Array.from(token, byteOfLetter);
    return bytes.every((byte) => byte !== null) ? Buffer.from(bytes) : null;
  },
  sentencePiece: (token) => {
    const hex = /^<0x([0-9A-F]{2})>$/.exec(token);
    return hex
      ? Buffer.from([Number.parseInt(hex[1]!, 16)])
      : Buffer.from(token.replaceAll('▁', ' '), 'utf8');
  },
};

/**
 * GPT-2's letter for a byte, read backwards: printable bytes of Latin-1 stand for themselves, the
 * others, in order, are U+0100, U+0101, ...
 */
function byteOfLetter(letter: string): number | null {
  const code = letter.codePointAt(0)!;
  if (code < 0x100) return isPrintable(code) ? code : null;
  return unprintable[code - 0x100] ?? null;
}

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

const unprintable: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).filter(
  (byte) => !isPrintable(byte),
);
