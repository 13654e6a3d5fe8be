import { AttuneError } from '@attune/core';
import { parseOptions } from '@attune/core/util';
import type { ReadRow } from '../contract/dataRow.js';
import { type Chunks, type OpenFile, openFile, type Peeked, peek } from './bytes.js';
import { gunzip } from './decompress.js';
import {
  beginsWithJson,
  type Format,
  formatOfName,
  formatOfText,
  HEAD_BYTES,
  signatureOf,
} from './detect.js';
import { Flattened } from './flatten.js';
import { readJsonLines } from './jsonLines.js';
import { type ReadRowsOptions, type ReadRules, readOptions } from './options.js';
import { Places } from './places.js';

/**
 * Reads a file row by row, whatever its format: JSON Lines, JSON, CSV, TSV, Parquet, Arrow or text,
 * compressed by gzip or zstd. Its first bytes say which it is; where they don't, its name does.
 *
 * Each place of the file gives `{ row, origin }`, or `{ problem, origin, raw }` where no row can be
 * read: a bad line is one problem, and the rows behind it come. Nothing is left out without a word
 * but blank lines. Rows come as they are asked for, and no more than a few hundred kilobytes of
 * them are in memory.
 *
 * @throws DATA_FILE when the file cannot be opened or is none; DATA_FORMAT when neither its bytes
 *   nor its name tell the format; UNKNOWN_OPTION, INVALID_OPTION
 * @example for await (const read of readRows('train.jsonl.gz')) if (isProblem(read)) report(read);
 */
export function readRows(file: string, options: ReadRowsOptions = {}): AsyncIterable<ReadRow> {
  const rules = parseOptions(readOptions, options, { where: 'readRows' });
  return { [Symbol.asyncIterator]: () => new Flattened(readBatches(file, rules)) };
}

/** The rows of a file, many at a time. */
export async function* readBatches(file: string, rules: ReadRules): AsyncGenerator<ReadRow[]> {
  const opened = await openFile(file);
  try {
    const places = new Places(file);
    const { head, chunks } = await uncompressed(opened);
    const format = chooseFormat(file, head.toString(), rules);
    yield* readText(format, chunks, places, rules);
  } finally {
    await opened.close();
  }
}

function readText(
  format: Format,
  chunks: Chunks,
  places: Places,
  rules: ReadRules,
): AsyncGenerator<ReadRow[]> {
  switch (format) {
    default:
      return readJsonLines(chunks, places, rules);
  }
}

async function uncompressed(file: OpenFile): Promise<Peeked> {
  const head = await file.read(0, HEAD_BYTES);
  return signatureOf(head)?.kind === 'gzip'
    ? peek(gunzip(file.chunks), HEAD_BYTES)
    : { head, chunks: file.chunks() };
}

/** @throws DATA_FORMAT */
function chooseFormat(file: string, head: string, { format }: ReadRules): Format {
  if (format !== undefined) return format;
  const named = formatOfName(file);
  const told = named === 'csv' || named === 'tsv' ? beginsWithJson(head) : named === null;
  const chosen = told ? formatOfText(head) : named;
  if (chosen !== null) return chosen;
  throw new AttuneError(
    'DATA_FORMAT',
    `data file ${file}: neither its name nor its first bytes tell its format.`,
    { remedy: 'Name it: format: "json", "csv", "tsv" or "text".' },
  );
}
