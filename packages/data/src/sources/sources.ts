import { z } from 'zod';
import type { Paths } from './expandPaths.js';
import { jsonShape, type ReadJsonOptions } from './options.js';
import { type RowFiles, rowFiles } from './rowFiles.js';

const jsonOptions = z.strictObject(jsonShape);

/**
 * Rows of JSON Lines: one object on each line. `.json` files with one array of objects are read,
 * too, and files that gzip or zstd compressed.
 *
 * @param paths a path, several, or a pattern: 'raw/*.jsonl'
 * @example pipeline(fromJsonl('raw/*.jsonl'))
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromJsonl = (paths: Paths, options: ReadJsonOptions = {}): RowFiles =>
  rowFiles(paths, options, {
    where: 'fromJsonl',
    options: jsonOptions,
    fixed: { format: 'json' },
  });
