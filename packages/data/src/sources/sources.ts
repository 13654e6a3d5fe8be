import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { AttuneError } from '@attune/core';
import { z } from 'zod';
import { type Format, formatOfName } from './detect.js';
import { checkedName, type Paths, unlisted } from './expandPaths.js';
import {
  csvShape,
  jsonShape,
  plainTextShape,
  type ReadCsvOptions,
  type ReadJsonOptions,
  type ReadRowsOptions,
  type ReadTableOptions,
  type ReadTextOptions,
  readOptions,
  tableShape,
} from './options.js';
import { type RowFiles, rowFiles } from './rowFiles.js';

const jsonOptions = z.strictObject(jsonShape);
const csvOptions = z.strictObject(csvShape);
const textOptions = z.strictObject(plainTextShape);
const tableOptions = z.strictObject(tableShape);

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

/**
 * Rows of JSON files: one array of objects, or one object on each line, or objects over several
 * lines. The same as {@link fromJsonl}, which reads them, too.
 *
 * @example fromJson(['a.json', 'b.json.gz'])
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromJson = (paths: Paths, options: ReadJsonOptions = {}): RowFiles =>
  rowFiles(paths, options, { where: 'fromJson', options: jsonOptions, fixed: { format: 'json' } });

/**
 * Rows of comma-separated values. All values are texts: no type is guessed.
 *
 * @example fromCsv('export.csv', { delimiter: ';', encoding: 'windows-1252' })
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromCsv = (paths: Paths, options: ReadCsvOptions = {}): RowFiles =>
  rowFiles(paths, options, { where: 'fromCsv', options: csvOptions, fixed: { format: 'csv' } });

/**
 * Rows of tab-separated values. All values are texts; quotation marks are characters as any other,
 * unless `quote` says otherwise.
 *
 * @example fromTsv('train.tsv', { header: ['label', 'text'] })
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromTsv = (paths: Paths, options: ReadCsvOptions = {}): RowFiles =>
  rowFiles(paths, options, { where: 'fromTsv', options: csvOptions, fixed: { format: 'tsv' } });

/**
 * Rows of Parquet files, a few thousand at a time. Integers are numbers below 2^53 and BigInts
 * beyond; times are texts (ISO 8601), NaN is null. Bytes that are no text are a problem of their
 * row.
 *
 * @example fromParquet('data/train-*.parquet', { columns: ['messages'] })
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromParquet = (paths: Paths, options: ReadTableOptions = {}): RowFiles =>
  rowFiles(paths, options, {
    where: 'fromParquet',
    options: tableOptions,
    fixed: { format: 'parquet' },
  });

/**
 * Rows of Arrow files and streams, Feather version 2 among them, with and without compression (LZ4,
 * zstd). Values are those of {@link fromParquet}.
 *
 * @example fromArrow('cache/*.arrow')
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromArrow = (paths: Paths, options: ReadTableOptions = {}): RowFiles =>
  rowFiles(paths, options, {
    where: 'fromArrow',
    options: tableOptions,
    fixed: { format: 'arrow' },
  });

/**
 * Rows `{ text }` of text files, or of a folder of them (.txt, .md, .rst, also in folders below):
 * each line, paragraph or file.
 *
 * @example fromText('books', { sampleBy: 'document' })
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE when it is read
 */
export const fromText = (paths: Paths, options: ReadTextOptions = {}): RowFiles =>
  rowFiles(paths, options, {
    where: 'fromText',
    options: textOptions,
    fixed: { format: 'text' },
    folder: (folder) => filesBelow(folder, (format) => format === 'text'),
  });

/**
 * Rows of files of any format, or of a folder of them: what their bytes say, else their names.
 *
 * @example fromFiles(['old.csv', 'new/*.parquet'])
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_FILE, DATA_FORMAT when it is read
 */
export const fromFiles = (paths: Paths, options: ReadRowsOptions = {}): RowFiles =>
  rowFiles(paths, options, {
    where: 'fromFiles',
    options: readOptions,
    folder: (folder) => filesBelow(folder, (format) => format !== null),
  });

/** The files in a folder and below whose names tell a format that is wanted, in their order. */
async function filesBelow(
  folder: string,
  isWanted: (format: Format | null) => boolean,
): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
    unlisted(folder),
  );
  const below = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
  const found = below.filter((name) => !/(^|\/)\./.test(name) && isWanted(formatOfName(name)));
  if (found.length > 0)
    return Promise.all(
      found.map((name) => checkedName(`${folder.replace(/(?<=.)\/+$/, '')}/${name}`)),
    );
  const there = below.length === 0 ? 'it is empty' : `it has ${below.slice(0, 8).join(', ')}`;
  throw new AttuneError('DATA_FILE', `no data files in the folder ${folder}: ${there}.`, {
    remedy: 'Name the files, or a pattern: "raw/*.jsonl".',
  });
}
