import { Buffer } from 'node:buffer';
import { openRegular } from '@attune/core/io';

/** Bytes that are read at once. */
export const CHUNK_BYTES = 2 ** 18;

/** Bytes of a file, or of what was decompressed from it, in their order. */
export type Chunks = AsyncIterable<Buffer>;

/** Bytes end before they should; its message says why. What came before is good. */
export class BrokenBytes extends Error {}

/** An open file. */
export interface OpenFile {
  readonly size: number;
  /** All bytes that it had when it was opened, from the first on, each time. */
  chunks(): Chunks;
  /** Bytes from `start` on; fewer than asked for at the end of the file. */
  read(start: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * Opens a file: nothing else is one, so that reading comes to an end.
 *
 * @throws DATA_FILE
 */
export async function openFile(path: string): Promise<OpenFile> {
  const handle = await openRegular(path, {
    code: 'DATA_FILE',
    label: 'data file ',
    remedy: `Check the path; it is relative to ${process.cwd()}.`,
  });
  const { size } = await handle.stat();
  const read = async (start: number, length: number): Promise<Buffer> => {
    // A new one each time: what is handed on may be kept.
    const buffer = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await handle.read(buffer, done, length - done, start + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return buffer.subarray(0, done);
  };
  return {
    size,
    read,
    async *chunks() {
      for (let at = 0; ; ) {
        let chunk: Buffer;
        try {
          chunk = await read(at, Math.min(CHUNK_BYTES, size > 0 ? size - at : CHUNK_BYTES));
        } catch (error) {
          throw new BrokenBytes(`the disk gave an error: ${(error as Error).message}`);
        }
        if (chunk.length === 0 && at < size)
          throw new BrokenBytes(`the file became shorter while it was read, from ${size} bytes`);
        if (chunk.length === 0) return;
        at += chunk.length;
        yield chunk;
        // What somebody appends meanwhile is not there: a log would never come to an end.
        if (size > 0 && at >= size) return;
      }
    },
    close: () => handle.close(),
  };
}

/** The first bytes of a stream, and all of it again. */
export interface Peeked {
  readonly head: Buffer;
  readonly chunks: Chunks;
}

/** Looks at the beginning of bytes: at `length` of them, or as many as come before an end. */
export async function peek(chunks: Chunks, length: number): Promise<Peeked> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first: Buffer[] = [];
  let size = 0;
  let broken: BrokenBytes | null = null;
  let ended = false;
  while (size < length && !ended && broken === null) {
    try {
      const next = await iterator.next();
      if (next.done) ended = true;
      else {
        first.push(next.value);
        size += next.value.length;
      }
    } catch (error) {
      if (!(error instanceof BrokenBytes)) throw error;
      broken = error;
    }
  }
  async function* again(): AsyncGenerator<Buffer> {
    try {
      yield* first;
      if (broken) throw broken;
      if (ended) return;
      for (;;) {
        const next = await iterator.next();
        if (next.done) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { head: first.length === 1 ? first[0]! : Buffer.concat(first), chunks: again() };
}
