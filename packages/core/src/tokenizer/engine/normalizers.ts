import type { CharSet } from './charSet.js';
import { Charsmap } from './charsmap.js';
import { composed } from './composition.js';
import type { Fields } from './fields.js';
import { type Piece, prepend, Rewriter } from './piece.js';
import type { Pattern } from './regex.js';
import { byteLetters, charSets } from './unicode.js';

/** Changes a text before it is split. */
export type Normalizer = (piece: Piece) => Piece;

/** @throws TOKENIZER_INVALID */
export function readNormalizer(fields: Fields): Normalizer {
  switch (fields.string('type')) {
    case 'Sequence': {
      const parts = fields.objects('normalizers').map(readNormalizer);
      return (piece) => parts.reduce((p, part) => part(p), piece);
    }
    case 'NFC':
      return composed('NFC');
    case 'NFD':
      return composed('NFD');
    case 'NFKC':
      return composed('NFKC');
    case 'NFKD':
      return composed('NFKD');
    case 'Lowercase':
      return lowercase;
    case 'StripAccents':
      return without(charSets.mark());
    case 'Strip':
      return strip(fields.boolean('strip_left'), fields.boolean('strip_right'));
    case 'Prepend': {
      const head = fields.string('prepend');
      return (piece) => prepend(piece, head);
    }
    case 'Replace':
      return replacePattern(fields.pattern('pattern'), fields.string('content'));
    case 'Nmt':
      return nmt();
    case 'ByteLevel':
      return toByteLetters;
    case 'Precompiled':
      return new Charsmap(fields).normalize;
    case 'BertNormalizer':
      return bert(fields);
    default:
      throw fields.unknown();
  }
}

function bert(fields: Fields): Normalizer {
  const lower = fields.boolean('lowercase');
  const accents = fields.has('strip_accents') ? fields.boolean('strip_accents') : lower;
  const parts: Normalizer[] = [];
  if (fields.boolean('clean_text')) parts.push(...cleanText());
  if (fields.boolean('handle_chinese_chars')) parts.push(spaceIdeographs(charSets.ideograph()));
  if (accents) parts.push(composed('NFD'), without(charSets.nonspacingMark()));
  if (lower) parts.push(lowercase);
  return (piece) => parts.reduce((p, part) => part(p), piece);
}

function cleanText(): Normalizer[] {
  const spaces = charSets.whiteSpace();
  const control = charSets.control();
  const kept = new Set([0x09, 0x0a, 0x0d]);
  const bad: CharSet = {
    has: (c) => c === 0 || c === 0xfffd || (!kept.has(c) && control.has(c)),
  };
  return [without(bad), mapped((code) => (spaces.has(code) ? ' ' : null))];
}

const spaceIdeographs =
  (ideographs: CharSet): Normalizer =>
  (piece) => {
    const rewriter = new Rewriter(piece);
    for (const char of piece.text) {
      if (!ideographs.has(char.codePointAt(0)!)) {
        rewriter.replace(char);
        continue;
      }
      rewriter.replace(' ');
      rewriter.insert(char);
      rewriter.insert(' ');
    }
    return rewriter.done();
  };

function nmt(): Normalizer {
  const removed: CharSet = {
    has: (c) =>
      (c >= 0x01 && c <= 0x08) ||
      c === 0x0b ||
      (c >= 0x0e && c <= 0x1f) ||
      c === 0x7f ||
      c === 0x8f ||
      c === 0x9f,
  };
  const spaces = new Set([
    0x09, 0x0a, 0x0c, 0x0d, 0x1680, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x2581,
    0xfeff, 0xfffd,
  ]);
  const drop = without(removed);
  const blank = mapped((code) => (spaces.has(code) ? ' ' : null));
  return (piece) => blank(drop(piece));
}

/** Leaves out the characters of a set; each belongs to the kept one before it. */
const without =
  (set: CharSet): Normalizer =>
  (piece) => {
    const { text } = piece;
    const kept: string[] = [];
    const removed: number[] = [];
    let skipped = 0;
    let some = false;
    for (const char of text) {
      if (!set.has(char.codePointAt(0)!)) {
        kept.push(char);
        removed.push(0);
        continue;
      }
      some = true;
      if (kept.length === 0) skipped++;
      else removed[removed.length - 1]!++;
    }
    if (!some) return piece;
    const rewriter = new Rewriter(piece, skipped);
    for (const [i, char] of kept.entries()) rewriter.replace(char, removed[i]!);
    return rewriter.done();
  };

/** Other characters for some; null keeps one. */
const mapped =
  (other: (code: number) => string | null): Normalizer =>
  (piece) => {
    const rewriter = new Rewriter(piece);
    for (const char of piece.text) rewriter.replace(other(char.codePointAt(0)!) ?? char);
    return rewriter.done();
  };

/**
 * Each character alone: Rust does not look at its neighbours, so that a final sigma is as any
 * other.
 */
const lowercase: Normalizer = (piece) => {
  const { text } = piece;
  if (!/[^\0-\x7f]/.test(text)) return { ...piece, text: text.toLowerCase() };
  const rewriter = new Rewriter(piece);
  for (const char of text) writeAll(rewriter, char.toLowerCase());
  return rewriter.done();
};

const toByteLetters: Normalizer = (piece) => {
  const rewriter = new Rewriter(piece);
  for (const char of piece.text) writeAll(rewriter, inLetters(char));
  return rewriter.done();
};

/** Several characters in place of one. */
function writeAll(rewriter: Rewriter, text: string): void {
  let begun = false;
  for (const char of text) {
    if (begun) rewriter.insert(char);
    else rewriter.replace(char);
    begun = true;
  }
}

const utf8 = new TextEncoder();

/** A text in the letters of byte-level vocabularies. */
export function inLetters(text: string): string {
  let letters = '';
  for (const byte of utf8.encode(text)) letters += byteLetters[byte]!;
  return letters;
}

/** A piece in those letters, following where each comes from. */
export const pieceInLetters: Normalizer = (piece) =>
  piece.from ? toByteLetters(piece) : { ...piece, text: inLetters(piece.text) };

const strip =
  (left: boolean, right: boolean): Normalizer =>
  (piece) => {
    const { text } = piece;
    const begin = left ? /^\p{White_Space}*/u.exec(text)![0].length : 0;
    const end = right ? trimmedLength(text) : text.length;
    if (begin === 0 && end === text.length) return piece;
    if (begin >= end)
      return { ...piece, text: '', from: piece.from && noUnits, to: piece.to && noUnits };
    const rewriter = new Rewriter(piece);
    rewriter.drop(begin);
    rewriter.keep(end);
    return rewriter.done();
  };

const noUnits = new Int32Array(0);

/** The length without white space at the end: every such character is one unit. */
function trimmedLength(text: string): number {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return end;
}

/** Every match becomes `content`, which belongs to the last character of the match. */
export function replacePattern(pattern: Pattern, content: string): Normalizer {
  return (piece) => {
    const matches = pattern.findAll(piece.text);
    if (matches.length === 0) return piece;
    const rewriter = new Rewriter(piece);
    for (let i = 0; i < matches.length; i += 2) {
      rewriter.keep(matches[i]!);
      rewriter.drop(matches[i + 1]!);
      for (const char of content) rewriter.insert(char);
    }
    rewriter.keep(piece.text.length);
    return rewriter.done();
  };
}
