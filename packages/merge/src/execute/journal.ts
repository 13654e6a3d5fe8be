import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { diskError } from '@attune/core/util';
import type { WrittenTensor } from './mergeTask.js';

/** What an earlier merge wrote down. */
export interface JournalEntries {
  /** The tensors that were written whole, by name. */
  readonly written: ReadonlyMap<string, WrittenTensor>;
  /** What `placing` was called with; null: it was not. */
  readonly placed: string | null;
}

/**
 * What of a merge is done: a line for the merge, and one for each tensor that was written, with the
 * CRC-32 of its bytes. A process that dies leaves a line cut off at most.
 */
export class Journal {
  private constructor(
    private readonly path: string,
    private readonly file: number,
  ) {}

  /** @returns null: there is none, or it is of another merge */
  static read(path: string, fingerprint: string): JournalEntries | null {
    const lines = readLines(path);
    if (!lines || parse(lines[0])?.merge !== fingerprint) return null;
    const written = new Map<string, WrittenTensor>();
    let placed: string | null = null;
    for (const line of lines.slice(1)) {
      const { tensor, crc, statistics = null, placing } = parse(line) ?? {};
      if (typeof placing === 'string') placed = placing;
      if (typeof tensor === 'string' && Number.isInteger(crc))
        written.set(tensor, { crc, statistics } as WrittenTensor);
    }
    return { written, placed };
  }

  /** Whether there is anything in it that a later merge could go on from. */
  static hasParts(path: string): boolean {
    return (readLines(path) ?? []).some((line) => typeof parse(line)?.tensor === 'string');
  }

  /** Begins a journal in the place of one that is there. */
  static async begin(path: string, fingerprint: string): Promise<void> {
    await writeFile(path, `${JSON.stringify({ merge: fingerprint })}\n`, { flush: true });
  }

  static open(path: string): Journal {
    return new Journal(path, openSync(path, 'a'));
  }

  add(tensor: string, { crc, statistics }: WrittenTensor): void {
    this.#write({ tensor, crc, ...(statistics && { statistics }) });
  }

  /** All is written, and takes its place now. @param files which files are beside the weights */
  placing(files: string): void {
    this.#write({ placing: files });
  }

  /** A newline first: a line before it may have been cut off. */
  #write(line: object): void {
    try {
      writeSync(this.file, `\n${JSON.stringify(line)}\n`);
    } catch (error) {
      throw diskError(error, this.path);
    }
  }

  close(): void {
    closeSync(this.file);
  }
}

function readLines(path: string): string[] | null {
  try {
    return statSync(path).isFile() ? readFileSync(path, 'utf8').split('\n') : null;
  } catch {
    return null;
  }
}

function parse(line: string | undefined): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line ?? '');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
