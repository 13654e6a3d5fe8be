import type { Buffer } from 'node:buffer';

/** A value of a JSON file, cut out; or what stands where one should be. */
export interface Cut {
  readonly bytes: Buffer;
  /** The line that it begins on, from 1 on. */
  readonly line: number;
  /** The place of its first byte in the text. */
  readonly offset: number;
  /** Why it is none; a sentence. Null: only its brackets were looked at. */
  readonly fault: string | null;
  /** Bytes of a value that is longer than is read. 0: it is not. */
  readonly tooLong: number;
}

const code = (character: string): number => character.charCodeAt(0);
export const [NEWLINE, SPACE, QUOTE, BACKSLASH, COMMA] = [10, 32, code('"'), code('\\'), code(',')];
export const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [...'[]{}'].map(code) as [
  number,
  number,
  number,
  number,
];

/**
 * Where a text ends: its quotation mark, a line end, or behind the last byte there is.
 *
 * @param isEscaped whether a backslash came last
 */
export function textEnd(
  buffer: Buffer,
  begin: number,
  isEscaped: boolean,
): { readonly at: number; readonly isEscaped: boolean } {
  let at = begin;
  let escaped = isEscaped;
  for (; at < buffer.length; at++) {
    const byte = buffer[at]!;
    if (byte === NEWLINE) break;
    if (escaped) escaped = false;
    else if (byte === BACKSLASH) escaped = true;
    else if (byte === QUOTE) break;
  }
  return { at, isEscaped: escaped };
}
