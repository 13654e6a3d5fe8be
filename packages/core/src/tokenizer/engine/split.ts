import { type CharSet, widthOf } from './charSet.js';
import { type Piece, slice } from './piece.js';
import type { Pattern } from './regex.js';

export const behaviors = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
] as const;

/** What becomes of the delimiters that a text is split by. */
export type Behavior = (typeof behaviors)[number];

/** Consecutive parts that cover a text: where each ends, and whether it is a delimiter. */
export interface Parts {
  readonly ends: readonly number[];
  readonly delimiter: readonly boolean[];
}

/** Parts of a text: the matches of a pattern and what lies between. */
export function partsByPattern(text: string, pattern: Pattern, inverted: boolean): Parts {
  const matches = pattern.findAll(text);
  const ends: number[] = [];
  const delimiter: boolean[] = [];
  let at = 0;
  for (let i = 0; i < matches.length; i += 2) {
    const start = matches[i]!;
    const end = matches[i + 1]!;
    if (start > at) {
      ends.push(start);
      delimiter.push(inverted);
    }
    ends.push(end);
    delimiter.push(!inverted);
    at = end;
  }
  if (at < text.length) {
    ends.push(text.length);
    delimiter.push(inverted);
  }
  return { ends, delimiter };
}

/** Parts of a text: each character of a set alone, and what lies between. */
export function partsBySet(text: string, set: CharSet): Parts {
  const ends: number[] = [];
  const delimiter: boolean[] = [];
  let last = 0;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at)!;
    const end = at + widthOf(code);
    if (set.has(code)) {
      if (at > last) {
        ends.push(at);
        delimiter.push(false);
      }
      ends.push(end);
      delimiter.push(true);
      last = end;
    }
    at = end;
  }
  if (last < text.length) {
    ends.push(text.length);
    delimiter.push(false);
  }
  return { ends, delimiter };
}

/**
 * The pieces that parts make: delimiters on their own (`Isolated`), left out (`Removed`), with what
 * is before or behind them (one delimiter each; a run of them stays apart), or in runs
 * (`Contiguous`).
 */
export function splitInto(piece: Piece, parts: Parts, behavior: Behavior, out: Piece[]): void {
  const { ends, delimiter } = parts;
  const count = ends.length;
  let begin = 0;
  for (let i = 0; i < count; i++) {
    const end = ends[i]!;
    if (i + 1 < count && joins(delimiter, i, behavior)) continue;
    if (end > begin && !(behavior === 'Removed' && delimiter[i]))
      out.push(slice(piece, begin, end));
    begin = end;
  }
}

/** Whether part `i` and the one behind it stay together. */
function joins(delimiter: readonly boolean[], i: number, behavior: Behavior): boolean {
  switch (behavior) {
    case 'Contiguous':
      return delimiter[i] === delimiter[i + 1];
    case 'MergedWithPrevious':
      return delimiter[i + 1]! && !delimiter[i];
    case 'MergedWithNext':
      return delimiter[i]! && !delimiter[i + 1];
    default:
      return false;
  }
}
