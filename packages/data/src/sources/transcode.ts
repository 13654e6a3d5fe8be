import { Buffer } from 'node:buffer';
import type { Chunks, Peeked } from './bytes.js';

/** Text as UTF-8, without a byte order mark. */
export interface Utf8Text {
  readonly chunks: Chunks;
  /** The encoding that it had. */
  readonly encoding: string;
}

/** What a character is written as that is none: no UTF-8 has this byte. */
const NO_CHARACTER = Buffer.from([0xff]);

/**
 * Text in any encoding as UTF-8.
 *
 * @param encoding a name that TextDecoder knows; default: what the first bytes say
 */
export function toUtf8({ head, chunks }: Peeked, encoding?: string): Utf8Text {
  const named = encoding === undefined ? sniffed(head) : new TextDecoder(encoding).encoding;
  if (named === 'utf-8')
    return { encoding: named, chunks: head[0] === 0xef ? withoutMark(chunks) : chunks };
  return {
    encoding: named,
    chunks: named.startsWith('utf-16')
      ? fromUtf16(chunks, named === 'utf-16be')
      : fromOther(chunks, named),
  };
}

/** By a byte order mark; without one UTF-16 shows by the zeros in its first characters. */
function sniffed([a, b, c, d]: Buffer): string {
  if (a === 0xff && b === 0xfe) return 'utf-16le';
  if (a === 0xfe && b === 0xff) return 'utf-16be';
  if (d === undefined) return 'utf-8';
  if (a !== 0 && b === 0 && c !== 0 && d === 0) return 'utf-16le';
  return a === 0 && b !== 0 && c === 0 && d !== 0 ? 'utf-16be' : 'utf-8';
}

async function* withoutMark(chunks: Chunks): AsyncGenerator<Buffer> {
  let isFirst = true;
  for await (const chunk of chunks) {
    const hasMark = isFirst && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    isFirst = false;
    yield hasMark ? chunk.subarray(3) : chunk;
  }
}

async function* fromUtf16(chunks: Chunks, isBigEndian: boolean): AsyncGenerator<Buffer> {
  let held: Buffer = Buffer.alloc(0);
  let isFirst = true;
  for await (const chunk of chunks) {
    // A copy: bytes are swapped in place.
    const bytes = Buffer.concat([held, chunk]);
    let length = bytes.length & ~1;
    const high = bytes[isBigEndian ? length - 2 : length - 1];
    // The first half of a pair waits for the second.
    if (length > 0 && high !== undefined && high >= 0xd8 && high < 0xdc) length -= 2;
    held = Buffer.from(bytes.subarray(length));
    const whole = bytes.subarray(0, length);
    if (isBigEndian) whole.swap16();
    let text = whole.toString('utf16le');
    if (isFirst && text.length > 0) {
      isFirst = false;
      text = text.replace(/^\ufeff/, '');
    }
    if (text.length > 0) yield marked(text, /[\ud800-\udfff]/u);
  }
  if (held.length > 0) yield NO_CHARACTER;
}

async function* fromOther(chunks: Chunks, encoding: string): AsyncGenerator<Buffer> {
  const decoder = new TextDecoder(encoding);
  for await (const chunk of chunks) {
    const text = decoder.decode(chunk, { stream: true });
    if (text.length > 0) yield marked(text, /\ufffd/);
  }
  const rest = decoder.decode();
  if (rest.length > 0) yield marked(rest, /\ufffd/);
}

/** As UTF-8, with what is no character as a byte that none has. */
function marked(text: string, none: RegExp): Buffer {
  if (!none.test(text)) return Buffer.from(text);
  const parts = text.split(none).flatMap((part) => [NO_CHARACTER, Buffer.from(part)]);
  return Buffer.concat(parts.slice(1));
}
