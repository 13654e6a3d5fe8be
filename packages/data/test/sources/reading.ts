import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isProblem, type ReadRow, type ReadRowsOptions, readRows } from '@attune/data';
import { expect } from 'vitest';

/** A folder for one file of tests. */
export class Files {
  private constructor(readonly folder: string) {}

  static async create(): Promise<Files> {
    return new Files(await mkdtemp(join(tmpdir(), 'attune-data-')));
  }

  async write(name: string, bytes: string | Uint8Array): Promise<string> {
    const path = join(this.folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    return path;
  }

  /** What reading a file of these bytes gives. Its places are numbered without a gap. */
  async read(
    name: string,
    bytes: string | Uint8Array,
    options?: ReadRowsOptions,
  ): Promise<ReadRow[]> {
    const reads = await all(readRows(await this.write(name, bytes), options));
    expect(reads.map(({ origin }) => origin.row)).toEqual(reads.map((_, i) => i));
    return reads;
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true });
  }
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** The rows, and problems as texts. */
export const told = (reads: readonly ReadRow[]): unknown[] =>
  reads.map((read) => (isProblem(read) ? read.problem : read.row));
