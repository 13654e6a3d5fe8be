import { parseOptions } from '@attune/core/util';
import { openFile, peek } from '../sources/bytes.js';
import { type Format, HEAD_BYTES, signatureOf } from '../sources/detect.js';
import { isDocument } from '../sources/jsonDocuments.js';
import { type ReadRowsOptions, readOptions } from '../sources/options.js';
import { chooseFormat, peekText, uncompressed } from '../sources/readRows.js';
import { toUtf8 } from '../sources/transcode.js';

/** What a file is, as its first bytes and its name say. */
export type FileFormat = {
  /** "JSON Lines", "CSV", "Parquet"; or what it is that is not read: "a zip archive". */
  readonly name: string;
  /** How it is compressed; null: it is not. */
  readonly compression: 'gzip' | 'zstd' | null;
  /** The encoding of a text; null for others. */
  readonly encoding: string | null;
};

const NAMES: Readonly<Record<Format, string>> = {
  json: 'JSON Lines',
  csv: 'CSV',
  tsv: 'TSV',
  text: 'text',
  parquet: 'Parquet',
  arrow: 'Arrow',
};

/** @throws DATA_FILE, DATA_FORMAT as reading it would */
export async function formatOfFile(file: string, read: ReadRowsOptions = {}): Promise<FileFormat> {
  const rules = parseOptions(readOptions, read, { where: 'readRows' });
  const opened = await openFile(file);
  try {
    const outer = signatureOf((await peek(opened.chunks(), HEAD_BYTES)).head)?.kind;
    const compression = outer === 'gzip' || outer === 'zstd' ? outer : null;
    const content = await uncompressed(opened);
    const signature = signatureOf(content.head);
    if (signature?.kind === 'other') return { name: signature.name, compression, encoding: null };
    if (signature?.kind === 'parquet' || signature?.kind === 'arrow')
      return { name: NAMES[signature.kind], compression, encoding: null };
    const text = await peekText(toUtf8(content, rules.encoding));
    const format = chooseFormat(file, text.head, rules);
    const name = format === 'json' && isDocument(text.head) ? 'JSON' : NAMES[format];
    return { name, compression, encoding: text.encoding };
  } finally {
    await opened.close();
  }
}
