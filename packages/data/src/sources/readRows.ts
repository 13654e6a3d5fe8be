import { AttuneError } from '@attune/core';
import { briefly, parseOptions } from '@attune/core/util';
import type { ReadRow } from '../contract/dataRow.js';
import { type OpenFile, openFile, type Peeked, peek } from './bytes.js';
import { readCsv } from './csv.js';
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
import { isDocument, readJsonDocuments } from './jsonDocuments.js';
import { readJsonLines } from './jsonLines.js';
import { type ReadRowsOptions, type ReadRules, readOptions } from './options.js';
import { Places } from './places.js';
import { readPlainText } from './plainText.js';
import { readTable } from './tables/readTable.js';
import { toUtf8, type Utf8Text } from './transcode.js';
import { unzstd } from './zstd.js';

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
    const content = await uncompressed(opened);
    const signature = signatureOf(content.head);
    if (signature?.kind === 'other')
      yield [places.problem(`the file is ${signature.name}. ${signature.remedy}`)];
    else if (signature?.kind === 'parquet' || signature?.kind === 'arrow') {
      const { kind } = signature;
      const fault = whyNoTable(kind, content.layers, rules);
      if (fault === null) yield* readTable(file, kind, places, rules);
      else yield [places.problem(fault)];
    } else yield* readText(file, content, places, rules);
  } finally {
    await opened.close();
  }
}

async function* readText(
  file: string,
  content: Peeked,
  places: Places,
  rules: ReadRules,
): AsyncGenerator<ReadRow[]> {
  const text = await peekText(toUtf8(content, rules.encoding));
  const format = chooseFormat(file, text.head, rules);
  switch (format) {
    case 'json':
      yield* isDocument(text.head)
        ? readJsonDocuments(text, places, rules)
        : readJsonLines(text, places, rules);
      return;
    case 'csv':
    case 'tsv':
      yield* readCsv(text, places, rules, format === 'tsv');
      return;
    case 'text':
      yield* readPlainText(text, places, rules);
      return;
    default:
      yield [
        places.problem(
          content.head.length === 0
            ? 'the file is empty.'
            : `no ${titles[format]} file: it begins with ${briefly(text.head, 40)}.`,
        ),
      ];
  }
}

const titles = {
  parquet: 'Parquet',
  arrow: 'Arrow',
  json: 'JSON',
  csv: 'CSV',
  tsv: 'TSV',
  text: 'text',
};

/** Null: it can be read as one. */
function whyNoTable(
  kind: 'parquet' | 'arrow',
  layers: number,
  { format = kind }: ReadRules,
): string | null {
  if (format !== kind)
    return `the file is ${titles[kind]}, and was to be read as ${titles[format]}.`;
  return layers === 0
    ? null
    : `a compressed ${titles[kind]} file: decompress it first, it compresses what is in it itself.`;
}

/** How often a file may be compressed. */
const LAYERS = 4;

export async function uncompressed(file: OpenFile): Promise<Peeked & { readonly layers: number }> {
  let open = file.chunks;
  for (let layer = 0; ; layer++) {
    const content = await peek(open(), HEAD_BYTES);
    const kind = signatureOf(content.head)?.kind;
    if (layer === LAYERS || (kind !== 'gzip' && kind !== 'zstd'))
      return { ...content, layers: layer };
    await content.chunks[Symbol.asyncIterator]().return?.();
    const outer = open;
    open = kind === 'gzip' ? () => gunzip(outer) : () => unzstd(outer());
  }
}

/** Text with its first characters. */
export async function peekText({
  chunks,
  encoding,
}: Utf8Text): Promise<Utf8Text & { head: string }> {
  const peeked = await peek(chunks, HEAD_BYTES);
  return { encoding, chunks: peeked.chunks, head: peeked.head.toString() };
}

/** @throws DATA_FORMAT */
export function chooseFormat(file: string, head: string, { format }: ReadRules): Format {
  if (format !== undefined) return format;
  const named = formatOfName(file);
  const isOther = named === null || (named !== 'json' && named !== 'text' && beginsWithJson(head));
  const chosen = isOther ? formatOfText(head) : named;
  if (chosen !== null) return chosen;
  throw new AttuneError(
    'DATA_FORMAT',
    `data file ${file}: neither its name nor its first bytes tell its format.`,
    { remedy: 'Name it: format: "json", "csv", "tsv" or "text".' },
  );
}
