import { parseOptions } from '@attune/core/util';
import type { z } from 'zod';
import type { ReadRow } from '../contract/dataRow.js';
import { expandPaths, type Paths } from './expandPaths.js';
import { Flattened } from './flatten.js';
import { type ReadRules, readOptions } from './options.js';
import { readBatches } from './readRows.js';

/**
 * Files whose rows can be read, from the first on each time. Nothing is read before it is iterated
 * or asked for its files.
 */
export interface RowFiles extends AsyncIterable<ReadRow> {
  /** The files, in the order in which they are read. @throws DATA_FILE */
  files(): Promise<readonly string[]>;
}

/** Rows of the files that something finds. */
export class FoundFiles implements RowFiles {
  constructor(
    private readonly find: () => Promise<readonly string[]>,
    private readonly rules: ReadRules,
  ) {}

  files(): Promise<readonly string[]> {
    return this.find();
  }

  async *#batches(): AsyncGenerator<readonly ReadRow[]> {
    for (const file of await this.find()) yield* readBatches(file, this.rules);
  }

  [Symbol.asyncIterator](): AsyncIterator<ReadRow> {
    return new Flattened(this.#batches());
  }
}

/** How a source finds and reads its files. */
interface SourceOfFiles {
  /** What a user calls it: "fromJsonl". */
  readonly where: string;
  readonly options: z.ZodObject;
  /** What is set for the reader. */
  readonly fixed?: Partial<ReadRules>;
  /** The files of a folder. Default: a folder is an error. */
  readonly folder?: (folder: string) => Promise<readonly string[]>;
}

/** @throws UNKNOWN_OPTION, INVALID_OPTION */
export function rowFiles(paths: Paths, options: object, source: SourceOfFiles): RowFiles {
  const { where, fixed = {}, folder = null } = source;
  const parsed = parseOptions(source.options, options, { where });
  const rules = readOptions.parse({ ...parsed, ...fixed });
  return new FoundFiles(() => expandPaths(paths, where, folder), rules);
}
