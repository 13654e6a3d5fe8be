import { Buffer, isUtf8 } from 'node:buffer';
import { BrokenBytes, type Chunks } from './bytes.js';

/** Whole lines of a file that lie side by side. */
export interface LineBlock {
  /** With the line ends between them; perhaps with one behind the last. */
  readonly bytes: Buffer;
  /** The number of the first line, from 1 on. */
  readonly line: number;
  /** The place of its first byte among the bytes of the text. */
  readonly offset: number;
  /** What ends a line. */
  readonly end: '\n' | '\r';
  /** Whether all of it is UTF-8. */
  readonly isUtf8: boolean;
  /** Bytes of a line that is longer than is read; `bytes` is its beginning. 0: it is not. */
  readonly tooLong: number;
  /** Why the bytes end here though they should not: the last line may be cut. Null: they do not. */
  readonly broken: string | null;
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** What is shown of a line that is too long. */
const SHOWN_BYTES = 2 ** 14;

/**
 * Cuts bytes where lines end: at \n, or in a file that has none in its beginning at \r. A line is
 * in memory as a whole, and no two chunks are.
 */
export async function* lineBlocks(chunks: Chunks, maxLineBytes: number): AsyncGenerator<LineBlock> {
  let line = 1;
  let offset = 0;
  let end: number | null = null;
  /** The beginning of a line whose end has not come. */
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  const take = (): Buffer => {
    const bytes = carried.length === 1 ? carried[0]! : Buffer.concat(carried);
    carried = [];
    carriedBytes = 0;
    return bytes;
  };
  const carry = (bytes: Buffer): void => {
    if (bytes.length === 0) return;
    carriedBytes += bytes.length;
    // What is too long is only counted.
    if (carriedBytes <= maxLineBytes || carried.length === 0) carried.push(bytes);
    else carried = [Buffer.concat(carried).subarray(0, SHOWN_BYTES)];
  };
  const block = (bytes: Buffer, broken: string | null = null): LineBlock => ({
    bytes,
    line,
    offset,
    end: end === RETURN ? '\r' : '\n',
    isUtf8: isUtf8(bytes),
    tooLong: 0,
    broken,
  });
  const carriedBlock = (broken: string | null = null): LineBlock => {
    const length = carriedBytes;
    if (length <= maxLineBytes) return block(take(), broken);
    const bytes = take().subarray(0, SHOWN_BYTES);
    return { ...block(bytes, broken), tooLong: length };
  };
  let broken: string | null = null;
  try {
    for await (const chunk of chunks) {
      end ??= lineEndOf(chunk);
      const last = chunk.lastIndexOf(end);
      if (last < 0) {
        carry(chunk);
        continue;
      }
      let begin = 0;
      if (carriedBytes > 0) {
        begin = chunk.indexOf(end) + 1;
        carry(chunk.subarray(0, begin));
        const length = carriedBytes;
        yield carriedBlock();
        line++;
        offset += length;
      }
      if (begin <= last) {
        const bytes = chunk.subarray(begin, last + 1);
        yield* longLinesApart(block(bytes), end, maxLineBytes);
        line += count(bytes, end);
        offset += bytes.length;
      }
      carry(chunk.subarray(last + 1));
    }
  } catch (error) {
    if (!(error instanceof BrokenBytes)) throw error;
    broken = error.message;
  }
  if (carriedBytes > 0 || broken !== null) yield carriedBlock(broken);
}

/** A \r that is last may be half of \r\n. */
const lineEndOf = (chunk: Buffer): number =>
  !chunk.includes(NEWLINE) && chunk.subarray(0, -1).includes(RETURN) ? RETURN : NEWLINE;

/** A limit below the size of a chunk is for tests and for small machines. */
function* longLinesApart(
  block: LineBlock,
  end: number,
  maxLineBytes: number,
): Generator<LineBlock> {
  const { bytes } = block;
  if (bytes.length <= maxLineBytes) return yield block;
  let { line, offset } = block;
  for (let at = 0; at < bytes.length; ) {
    const next = bytes.indexOf(end, at) + 1;
    const one = bytes.subarray(at, next);
    const isLong = one.length - 1 > maxLineBytes;
    const shown = isLong ? one.subarray(0, SHOWN_BYTES) : one;
    const tooLong = isLong ? one.length : 0;
    yield { ...block, bytes: shown, line, offset, isUtf8: isUtf8(shown), tooLong };
    line++;
    offset += one.length;
    at = next;
  }
}

function count(bytes: Buffer, byte: number): number {
  let found = 0;
  for (let at = bytes.indexOf(byte); at >= 0; at = bytes.indexOf(byte, at + 1)) found++;
  return found;
}
