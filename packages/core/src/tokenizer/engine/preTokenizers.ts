import { RuleSet, widthOf } from './charSet.js';
import type { Fields } from './fields.js';
import { pieceInLetters, replacePattern } from './normalizers.js';
import { type Piece, prepend, slice } from './piece.js';
import { Pattern } from './regex.js';
import { scriptOf } from './scripts.js';
import { behaviors, partsByPattern, partsBySet, splitInto } from './split.js';
import { charSets } from './unicode.js';

/** Splits a piece into others, which it adds to `out`; empty ones are left out. */
export type PreTokenizer = (piece: Piece, out: Piece[]) => void;

/** What splits a text before the model sees it. */
export interface PreTokenization {
  readonly steps: readonly PreTokenizer[];
  /**
   * Whether pieces are spelt in byte letters at the end: left to the model, which keeps what it has
   * seen.
   */
  readonly inLetters: boolean;
  /** Whether a step asks where a piece began in the text. */
  readonly asksStart: boolean;
}

/** @throws TOKENIZER_INVALID */
export function readPreTokenizers(fields: Fields | null): PreTokenization {
  const parts = fields ? flatten(fields) : [];
  const last = parts.at(-1);
  const inLetters = last?.string('type') === 'ByteLevel';
  const steps = parts.flatMap((part, i) => read(part, inLetters && i === parts.length - 1));
  const asksStart = parts.some((part) => part.raw('prepend_scheme') === 'first');
  return { steps, inLetters, asksStart };
}

function flatten(fields: Fields): Fields[] {
  if (fields.string('type') !== 'Sequence') return [fields];
  return fields.objects('pretokenizers').flatMap(flatten);
}

const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** @param lettersLater whether spelling in byte letters is left to the model */
function read(fields: Fields, lettersLater: boolean): PreTokenizer[] {
  switch (fields.string('type')) {
    case 'ByteLevel': {
      const steps: PreTokenizer[] = [];
      if (fields.boolean('add_prefix_space')) steps.push(prefixSpace);
      if (fields.boolean('use_regex', true)) steps.push(isolate(new Pattern(GPT2)));
      if (!lettersLater) steps.push((piece, out) => out.push(pieceInLetters(piece)));
      return steps;
    }
    case 'Split':
      return [split(fields)];
    case 'Whitespace': {
      const words = new Pattern(
        String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\s]+`,
      );
      return [
        (piece, out) => splitInto(piece, partsByPattern(piece.text, words, true), 'Removed', out),
      ];
    }
    case 'WhitespaceSplit':
      return [bySet(charSets.whiteSpace(), 'Removed')];
    case 'BertPreTokenizer':
      return [bySet(charSets.whiteSpace(), 'Removed'), bySet(charSets.punctuation(), 'Isolated')];
    case 'Punctuation':
      return [bySet(charSets.punctuation(), fields.oneOf('behavior', behaviors, 'Isolated'))];
    case 'Digits':
      return [
        bySet(charSets.numeric(), fields.boolean('individual_digits') ? 'Isolated' : 'Contiguous'),
      ];
    case 'CharDelimiterSplit':
    case 'Delimiter': {
      const code = fields.char('delimiter').codePointAt(0)!;
      return [bySet(new RuleSet((c) => c === code), 'Removed')];
    }
    case 'Metaspace':
      return [metaspace(fields)];
    case 'UnicodeScripts':
      return [byScript];
    case 'FixedLength':
      return [fixedLength(fields)];
    default:
      throw fields.unknown();
  }
}

const bySet =
  (
    set: RuleSet | ReturnType<typeof charSets.numeric>,
    behavior: (typeof behaviors)[number],
  ): PreTokenizer =>
  (piece, out) =>
    splitInto(piece, partsBySet(piece.text, set), behavior, out);

const prefixSpace: PreTokenizer = (piece, out) => {
  out.push(piece.text.startsWith(' ') ? piece : prepend(piece, ' '));
};

const isolate =
  (pattern: Pattern): PreTokenizer =>
  (piece, out) => {
    const matches = pattern.findAll(piece.text);
    let at = 0;
    for (let i = 0; i < matches.length; i += 2) {
      const start = matches[i]!;
      const end = matches[i + 1]!;
      if (start > at) out.push(slice(piece, at, start));
      if (end > start) out.push(slice(piece, start, end));
      at = end;
    }
    if (at < piece.text.length) out.push(slice(piece, at, piece.text.length));
  };

function split(fields: Fields): PreTokenizer {
  const pattern = fields.pattern('pattern');
  const behavior = fields.oneOf('behavior', behaviors);
  const inverted = fields.boolean('invert');
  if (behavior === 'Isolated') return isolate(pattern);
  return (piece, out) =>
    splitInto(piece, partsByPattern(piece.text, pattern, inverted), behavior, out);
}

function metaspace(fields: Fields): PreTokenizer {
  const mark = fields.char('replacement');
  const scheme = fields.oneOf('prepend_scheme', ['first', 'never', 'always'], 'always');
  const added = fields.has('add_prefix_space') ? fields.boolean('add_prefix_space') : null;
  if (added === false && fields.has('prepend_scheme') && scheme !== 'never')
    throw fields.error(
      `${fields.path} says both add_prefix_space false and prepend_scheme ${scheme}`,
    );
  const prepends = added === false ? 'never' : scheme;
  const spaces = replacePattern(new Pattern(' '), mark);
  const marks = new RuleSet((code) => code === mark.codePointAt(0)!);
  const splits = fields.has('split') ? fields.boolean('split') : true;
  return (piece, out) => {
    let marked = piece.from
      ? spaces(piece)
      : { ...piece, text: piece.text.replaceAll(' ', () => mark) };
    const wanted = prepends === 'always' || (prepends === 'first' && piece.start === 0);
    if (wanted && !marked.text.startsWith(mark)) marked = prepend(marked, mark);
    if (splits) splitInto(marked, partsBySet(marked.text, marks), 'MergedWithNext', out);
    else if (marked.text !== '') out.push(marked);
  };
}

/** Splits where the script changes; a space belongs to any. */
const byScript: PreTokenizer = (piece, out) => {
  const { text } = piece;
  let last: string | null = null;
  let begin = -1;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at)!;
    const script = scriptOf(code);
    if (script !== 'Any' && last !== 'Any' && last !== script) {
      if (begin >= 0) out.push(slice(piece, begin, at));
      begin = at;
    }
    if (script !== 'Any') last = script;
    at += widthOf(code);
  }
  if (begin >= 0 && begin < text.length) out.push(slice(piece, begin, text.length));
};

function fixedLength(fields: Fields): PreTokenizer {
  const length = fields.count('length', 5);
  if (length === 0) throw fields.wrong('length', 'an integer above 0');
  return (piece, out) => {
    const { text } = piece;
    let begin = 0;
    let count = 0;
    for (let at = 0; at < text.length; ) {
      at += widthOf(text.codePointAt(at)!);
      if (++count % length === 0 || at === text.length) {
        out.push(slice(piece, begin, at));
        begin = at;
      }
    }
  };
}
