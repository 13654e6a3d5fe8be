import { IGNORE_INDEX, type TokenExample } from '../collator.js';
import type { TextTokenizer } from '../tokenizeRow.js';

/** A stretch of a row that is trained, or is not. */
export interface Segment {
  readonly text: string;
  readonly trained: boolean;
  /** How many tokens it has. */
  readonly tokens: number;
}

/** Ids as text, special tokens included; the numbers where nothing can decode them. */
export const textOf = (tokenizer: TextTokenizer | null, ids: ArrayLike<number>): string =>
  tokenizer?.decode?.(ids, { skipSpecialTokens: false }) ?? Array.from(ids).join(' ');

/**
 * A row cut where training begins and ends. The text of a token depends on those before it, so
 * pieces are what the text grows by, not what each piece decodes to.
 */
export function segmentsOf(
  tokenizer: TextTokenizer | null,
  { inputIds, labels }: TokenExample,
): Segment[] {
  const isTrained = (i: number) => i > 0 && labels[i] !== IGNORE_INDEX;
  const segments: Segment[] = [];
  const ids = Array.from(inputIds);
  let start = 0;
  let written = 0;
  for (let i = 1; i <= ids.length; i++) {
    if (i < ids.length && isTrained(i) === isTrained(start)) continue;
    if (!tokenizer?.decode) {
      const numbers = ids.slice(start, i).join(' ') + (i < ids.length ? ' ' : '');
      segments.push({ text: numbers, trained: isTrained(start), tokens: i - start });
      start = i;
      continue;
    }
    // A character whose bytes go on in the next piece is shown there.
    const whole = textOf(tokenizer, ids.slice(0, i));
    const text = i < ids.length ? whole.replace(/\ufffd+$/, '') : whole;
    segments.push({ text: text.slice(written), trained: isTrained(start), tokens: i - start });
    written = Math.max(written, text.length);
    start = i;
  }
  return segments;
}

/** Characters of a segment that are shown at its start and at its end. */
const HEAD = 240;
const TAIL = 120;

/** A long segment without its middle. */
export function cropped(segment: Segment): Segment {
  const letters = [...segment.text];
  const left = letters.length - HEAD - TAIL;
  if (left < 40) return segment;
  return {
    ...segment,
    text: `${letters.slice(0, HEAD).join('')} ... ${left} characters ... ${letters.slice(-TAIL).join('')}`,
  };
}

/**
 * Segments as lines behind a rule: trained text green or within ⟦ ⟧, a line break that it ends with
 * as ↵.
 */
export function indented(segments: readonly Segment[], color: boolean): string {
  const text = segments
    .map(({ text, trained }) => {
      const safe = printable(text);
      if (!trained) return color ? paint(DIM, safe) : safe;
      const end = /\n*$/.exec(safe)![0];
      const marked = safe.slice(0, safe.length - end.length) + '↵'.repeat(end.length);
      return (color ? paint(GREEN, marked) : `⟦${marked}⟧`) + (end && '\n');
    })
    .join('');
  return text.trimEnd().replace(/^/gm, '    | ');
}

const GREEN = 32;
const DIM = 2;

/** Line by line, so that the rule before each line keeps its own colour. */
const paint = (code: number, text: string): string =>
  text.replace(/[^\n]+/g, (line) => `\u001b[${code}m${line}\u001b[0m`);

/** Control characters of data must not reach a terminal: they are shown as escapes. */
const printable = (text: string): string =>
  text.replace(/\r/g, '\\r').replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
