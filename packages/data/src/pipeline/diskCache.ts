import { createReadStream } from 'node:fs';
import { type FileHandle, open, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from '@attune/core/io';
import { diskError, isSystemError, type PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';

/** Where a value stands in the file. */
type Place = readonly [start: number, length: number];

/**
 * Small results in a file that only grows: `[key, value]` on each line. What a process that was
 * killed left of its last line is cut off. Memory holds the keys.
 */
export class DiskCache implements StageCache {
  #opened: Promise<FileHandle> | null = null;
  readonly #places = new Map<string, Place>();
  #end = 0;
  /** Lines go out one behind the other. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(private readonly path: string) {}

  async get(key: string): Promise<PlainJson | undefined> {
    const file = await this.#open();
    const place = this.#places.get(key);
    if (place === undefined) return undefined;
    const [start, length] = place;
    const bytes = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await file.read(bytes, done, length - done, start + done);
      if (bytesRead === 0) return undefined;
      done += bytesRead;
    }
    return (JSON.parse(bytes.toString('utf8')) as [string, PlainJson])[1];
  }

  /** @throws DISK_WRITE */
  async set(key: string, value: PlainJson): Promise<void> {
    const file = await this.#open();
    const bytes = Buffer.from(`${JSON.stringify([key, value])}\n`);
    const written = this.#writing.then(async () => {
      const start = this.#end;
      try {
        for (let done = 0; done < bytes.length; )
          done += (await file.write(bytes, done, bytes.length - done, start + done)).bytesWritten;
      } catch (error) {
        throw diskError(error, this.path);
      }
      this.#end = start + bytes.length;
      this.#places.set(key, [start, bytes.length - 1]);
    });
    this.#writing = written.catch(() => undefined);
    await written;
  }

  async close(): Promise<void> {
    await this.#writing;
    await (await this.#opened)?.close();
  }

  #open(): Promise<FileHandle> {
    this.#opened ??= this.#read();
    return this.#opened;
  }

  async #read(): Promise<FileHandle> {
    try {
      await makeFolder(dirname(this.path));
      await this.#index();
      const file = await open(this.path, 'a').then(async (made) => {
        await made.close();
        return open(this.path, 'r+');
      });
      await truncate(this.path, this.#end);
      return file;
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  /** Learns where each key stands. A line that is none ends what is taken. */
  async #index(): Promise<void> {
    let rest = Buffer.alloc(0);
    try {
      for await (const chunk of createReadStream(this.path, { highWaterMark: 2 ** 20 })) {
        const bytes =
          rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
        let at = 0;
        for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, at)) {
          const key = keyOf(bytes.toString('utf8', at, end));
          if (key === null) return;
          this.#places.set(key, [this.#end, end - at]);
          this.#end += end + 1 - at;
          at = end + 1;
        }
        rest = Buffer.from(bytes.subarray(at));
      }
    } catch (error) {
      if (!(isSystemError(error) && error.code === 'ENOENT')) throw error;
    }
  }
}

function keyOf(line: string): string | null {
  try {
    const parsed: unknown = JSON.parse(line);
    return Array.isArray(parsed) && parsed.length === 2 && typeof parsed[0] === 'string'
      ? parsed[0]
      : null;
  } catch {
    return null;
  }
}
