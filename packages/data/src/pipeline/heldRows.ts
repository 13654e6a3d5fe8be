import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { makeFolder } from '@attune/core/io';
import type { DataRow } from '../contract/dataRow.js';
import type { HeldRows } from '../contract/dataStage.js';
import { RowLines } from './rowLines.js';

/** Bytes that are written, and read, at once. */
const BLOCK = 2 ** 20;

/**
 * Rows in a file of their own; memory holds 8 bytes for each.
 *
 * @param lines numbers the files that rows come from
 * @param onBytes is given all that is written, as it is
 * @throws DATA_HELD_ROWS when the folder cannot be written
 */
export async function holdRows(
  rows: AsyncIterable<DataRow>,
  folder: string,
  lines = new RowLines(),
  onBytes?: (bytes: Buffer) => void,
): Promise<HeldRows> {
  const [own, file] = await holding(folder, async () => {
    await makeFolder(folder);
    const path = await mkdtemp(join(folder, 'rows-'));
    return [path, await open(join(path, 'rows.jsonl'), 'w+')] as const;
  });
  try {
    const ends = await writeRows(rows, file, folder, lines, onBytes);
    return new FileRows(own, file, lines, ends);
  } catch (error) {
    await file.close();
    await rm(own, { recursive: true, force: true });
    throw error;
  }
}

/** Not the output is what cannot be written: the folder has another disk, and another remedy. */
async function holding<T>(folder: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    throw new AttuneError(
      'DATA_HELD_ROWS',
      `rows cannot be held in ${folder}: ${(cause as Error).message}.`,
      { remedy: 'Free space there, or have temporary files elsewhere (TMPDIR).', cause },
    );
  }
}

async function writeRows(
  rows: AsyncIterable<DataRow>,
  file: FileHandle,
  folder: string,
  lines: RowLines,
  onBytes?: (bytes: Buffer) => void,
): Promise<Float64Array> {
  let ends = new Float64Array(1024);
  let length = 0;
  let at = 0;
  let pending: Buffer[] = [];
  let size = 0;
  const flush = async () => {
    const { bytesWritten } = await holding(folder, () => file.writev(pending));
    if (bytesWritten !== size) throw new Error(`the disk took ${bytesWritten} of ${size} bytes`);
    pending = [];
    size = 0;
  };
  for await (const row of rows) {
    const bytes = Buffer.from(`${lines.toLine(row)}\n`);
    onBytes?.(bytes);
    at += bytes.length;
    if (length === ends.length) {
      const larger = new Float64Array(2 * ends.length);
      larger.set(ends);
      ends = larger;
    }
    ends[length++] = at;
    pending.push(bytes);
    size += bytes.length;
    if (size >= BLOCK) await flush();
  }
  if (size > 0) await flush();
  return ends.subarray(0, length);
}

interface Block {
  /** Its first byte in the file. */
  readonly start: number;
  readonly bytes: Buffer;
}

class FileRows implements HeldRows {
  /** The piece that was read last. */
  #block: Block = { start: 0, bytes: Buffer.alloc(0) };
  /** First byte of the row behind the one that was asked for last. */
  #next = 0;

  constructor(
    private readonly folder: string,
    private readonly file: FileHandle,
    private readonly lines: RowLines,
    /** Byte behind each row. */
    private readonly ends: Float64Array,
  ) {}

  get length(): number {
    return this.ends.length;
  }

  async at(index: number): Promise<DataRow> {
    const begin = index === 0 ? 0 : this.ends[index - 1]!;
    const end = this.ends[index]!;
    const { start, bytes } = await this.#blockOf(begin, end);
    this.#next = end;
    return this.lines.fromLine(bytes.toString('utf8', begin - start, end - start - 1));
  }

  async #blockOf(begin: number, end: number): Promise<Block> {
    const { start, bytes } = this.#block;
    if (begin >= start && end <= start + bytes.length) return this.#block;
    const left = this.ends.at(-1)! - begin;
    // A row out of order is read alone: a block for each would be read for nothing.
    const inOrder = begin === this.#next;
    const block = Buffer.allocUnsafe(Math.min(left, Math.max(inOrder ? BLOCK : 0, end - begin)));
    for (let done = 0; done < block.length; ) {
      const { bytesRead } = await this.file.read(block, done, block.length - done, begin + done);
      if (bytesRead === 0) throw new Error('held rows ended early');
      done += bytesRead;
    }
    this.#block = { start: begin, bytes: block };
    return this.#block;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<DataRow> {
    for (let i = 0; i < this.length; i++) yield await this.at(i);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
