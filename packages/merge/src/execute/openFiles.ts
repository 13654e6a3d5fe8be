import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { AttuneError, diskError, isSystemError } from '@attune/core/util';

/** More stay open only while they are used: a process has some thousand. */
const MAX_OPEN = 48;

/**
 * Files of a thread, opened when they are first needed; those that were not used for longest are
 * closed when there are many.
 */
export class OpenFiles {
  readonly #open = new Map<string, number>();

  constructor(private readonly flags: 'r' | 'r+') {}

  of(path: string): number {
    const known = this.#open.get(path);
    if (known !== undefined) this.#open.delete(path);
    const file = known ?? openSync(path, this.flags);
    this.#open.set(path, file);
    if (this.#open.size > MAX_OPEN) this.#close(this.#open.keys().next().value!);
    return file;
  }

  close(): void {
    for (const path of [...this.#open.keys()]) this.#close(path);
  }

  #close(path: string): void {
    closeSync(this.#open.get(path)!);
    this.#open.delete(path);
  }
}

/** Longest single read or write: the system takes no more than 2 GiB at once. */
const MAX_AT_ONCE = 2 ** 30;

/**
 * Fills `into` from byte `at` of a file on.
 *
 * @throws MERGE_INPUT for a file that is not there, ends early, or cannot be read
 */
export function readExactly(files: OpenFiles, path: string, at: number, into: Uint8Array): void {
  try {
    const file = files.of(path);
    for (let done = 0; done < into.length; ) {
      const count = readSync(
        file,
        into,
        done,
        Math.min(MAX_AT_ONCE, into.length - done),
        at + done,
      );
      if (count === 0)
        throw new AttuneError(
          'MERGE_INPUT',
          `${path} ended at byte ${at + done} while ${into.length - done} more were expected.`,
          { remedy: 'Do not change the inputs of a merge while it runs; fetch the file again.' },
        );
      done += count;
    }
  } catch (error) {
    throw inputError(error, path);
  }
}

/** What the system says of a file that is to be read. */
export function inputError(error: unknown, path: string): unknown {
  if (!isSystemError(error)) return error;
  const gone = error.code === 'ENOENT';
  return new AttuneError(
    'MERGE_INPUT',
    gone
      ? `${path} was there when the merge was planned, and is gone.`
      : `${path} cannot be read (${error.code}: ${error.message}).`,
    {
      remedy: gone
        ? 'Put the file back and merge again: what was done is kept.'
        : 'Make the file readable and merge again: what was done is kept.',
      details: { path, reason: error.code },
      cause: error,
    },
  );
}

/** Writes all bytes at byte `at` of a file. @throws DISK_WRITE */
export function writeExactly(files: OpenFiles, path: string, at: number, bytes: Uint8Array): void {
  try {
    const file = files.of(path);
    for (let done = 0; done < bytes.length; )
      done += writeSync(file, bytes, done, Math.min(MAX_AT_ONCE, bytes.length - done), at + done);
  } catch (error) {
    throw diskError(error, path);
  }
}
