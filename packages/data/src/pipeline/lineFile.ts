import { closeSync, openSync, writeSync } from 'node:fs';
import { diskError } from '@attune/core/util';

/** Characters that are written at once. */
const BLOCK = 2 ** 20;

/** Lines of text that go to a file, a megabyte at a time. */
export class LineFile {
  readonly #file: number;
  #pending: string[] = [];
  #size = 0;
  lines = 0;

  /** @throws DISK_WRITE */
  constructor(readonly path: string) {
    try {
      this.#file = openSync(path, 'w');
    } catch (error) {
      throw diskError(error, path);
    }
  }

  /** @throws DISK_WRITE */
  write(line: string): void {
    this.#pending.push(line, '\n');
    this.#size += line.length;
    this.lines++;
    if (this.#size >= BLOCK) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#pending.join(''));
    this.#pending = [];
    this.#size = 0;
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  /** @throws DISK_WRITE */
  close(): void {
    try {
      this.#flush();
    } finally {
      closeSync(this.#file);
    }
  }
}
