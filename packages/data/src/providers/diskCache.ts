import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '@attune/core/io';
import { AttuneError, diskError, type PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';

/** Bytes that are read at once. */
const BLOCK = 2 ** 20;
const NEWLINE = 10;

/** Where a record lies in the file, without its line end. */
interface Place {
  readonly at: number;
  readonly length: number;
}

/**
 * Values in a file that only grows: one record a line, `key <tab> JSON`. Memory holds the keys
 * alone.
 *
 * A record is written with one call that appends, between two line ends: what several caches of one
 * folder write, in one process or in several, does not mix, and a record that a kill cut off spoils
 * none behind it. A record that cannot be read is missing, and is written again. Where two have one
 * key, the later counts. A file that somebody replaced is read anew.
 */
export class DiskCache implements StageCache {
  readonly path: string;
  readonly #places = new Map<string, Place>();
  /** Bytes of the file that are known: up to the end of a line. */
  #known = 0;
  /** Whether another record was found where one was known. */
  #isReplaced = false;
  /** One look at the file after the other. */
  #reading: Promise<void> = Promise.resolve();

  constructor(private readonly folder: string) {
    this.path = join(folder, 'values.tsv');
  }

  /** @throws DATA_CACHE when the file cannot be read */
  async get(key: string): Promise<PlainJson | undefined> {
    const known = this.#places.get(key);
    const value = known && (await this.#read(key, known));
    if (value !== undefined) return value;
    // Not there, or not readable: somebody else may have written it since.
    await this.#readOn();
    const place = this.#places.get(key);
    return place && place !== known ? this.#read(key, place) : undefined;
  }

  async #read(key: string, place: Place): Promise<PlainJson | undefined> {
    const line = (await this.#withFile('r', (file) => readAt(file, place))) ?? '';
    if (!line.startsWith(`${key}\t`)) {
      // What stands there now is not what stood there: nothing that is known holds.
      this.#isReplaced = true;
      return undefined;
    }
    try {
      return JSON.parse(line.slice(key.length + 1)) as PlainJson;
    } catch {
      return undefined;
    }
  }

  /** @throws DISK_WRITE */
  async set(key: string, value: PlainJson): Promise<void> {
    if (!isKey(key)) throw new Error(`a key of a cache is a word, not ${JSON.stringify(key)}`);
    const record = Buffer.from(`\n${key}\t${JSON.stringify(value)}\n`);
    try {
      await makeFolder(this.folder);
      const file = await open(this.path, 'a');
      try {
        for (let done = 0; done < record.length; )
          done += (await file.write(record, done, record.length - done)).bytesWritten;
      } finally {
        await file.close();
      }
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  #readOn(): Promise<void> {
    const reading = this.#reading.then(() =>
      this.#withFile('r', async (file) => {
        const { size } = await file.stat();
        // Somebody emptied it, or wrote another: what was known is gone.
        if (size < this.#known || this.#isReplaced) {
          this.#places.clear();
          this.#known = 0;
          this.#isReplaced = false;
        }
        if (size > this.#known) await this.#index(file, size);
      }),
    );
    this.#reading = reading.then(
      () => undefined,
      () => undefined,
    );
    return reading.then(() => undefined);
  }

  /** Notes where each value of the lines up to `size` lies. */
  async #index(file: FileHandle, size: number): Promise<void> {
    let left: Buffer = Buffer.alloc(0);
    for (let at = this.#known; at < size; ) {
      const block = Buffer.allocUnsafe(Math.min(BLOCK, size - at));
      const { bytesRead } = await file.read(block, 0, block.length, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      const bytes = Buffer.concat([left, block.subarray(0, bytesRead)]);
      let start = 0;
      for (;;) {
        const end = bytes.indexOf(NEWLINE, start);
        if (end < 0) break;
        this.#note(bytes.subarray(start, end), at - bytes.length + start);
        start = end + 1;
      }
      left = bytes.subarray(start);
      this.#known = at - left.length;
    }
  }

  #note(line: Buffer, at: number): void {
    const tab = line.indexOf(9);
    if (tab < 1) return;
    const key = line.toString('latin1', 0, tab);
    if (isKey(key)) this.#places.set(key, { at, length: line.length });
  }

  /** @returns undefined where there is no file yet */
  async #withFile<T>(flags: string, use: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
    try {
      const file = await open(this.path, flags);
      try {
        return await use(file);
      } finally {
        await file.close();
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new AttuneError(
        'DATA_CACHE',
        `${this.path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
        { remedy: 'Choose another folder for the cache, or let this user read it.', cause },
      );
    }
  }
}

const isKey = (key: string): boolean => /^[\x21-\x7e]{1,200}$/.test(key);

async function readAt(file: FileHandle, { at, length }: Place): Promise<string> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.toString('utf8', 0, done);
}
