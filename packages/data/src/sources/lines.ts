import { isUtf8 } from 'node:buffer';
import type { LineBlock } from './lineBlocks.js';
import { notText, tooLong } from './places.js';

/** A line of a text file without its end. */
export interface Line {
  readonly text: string;
  /** From 1 on. */
  readonly number: number;
  /** Why it is no text; a sentence. Null: it is. */
  readonly fault: string | null;
}

/**
 * The lines of a block, each a text of its own: a part of a larger one would keep all of that in
 * memory. A \r within a line ends one, too.
 */
export function linesOf(block: LineBlock, encoding: string, maxRowBytes: number): Line[] {
  const { bytes, end, offset } = block;
  if (block.tooLong > 0)
    return [
      {
        text: bytes.toString(),
        number: block.line,
        fault: tooLong(block.tooLong, maxRowBytes),
      },
    ];
  const lines: Line[] = [];
  const hasNul = bytes.includes(0);
  let number = block.line;
  for (let begin = 0; begin < bytes.length; number++) {
    let at = bytes.indexOf(end, begin);
    if (at < 0) at = bytes.length;
    const text = bytes.toString('utf8', begin, at);
    const one = bytes.subarray(begin, at);
    const fault = !(block.isUtf8 || isUtf8(one))
      ? notText(one, offset + begin, encoding)
      : hasNul && text.includes('\0')
        ? 'the row has NUL characters: the file is binary, or was cut off when it was written.'
        : null;
    if (fault === null && text.includes('\r') && end === '\n')
      for (const part of text.replace(/\r$/, '').split('\r'))
        lines.push({ text: part, number, fault });
    else lines.push({ text, number, fault });
    begin = at + 1;
  }
  return lines;
}
