import type { Buffer } from 'node:buffer';

/** Formats that are read. */
export const FORMATS = ['json', 'csv', 'tsv', 'text', 'parquet', 'arrow'] as const;
export type Format = (typeof FORMATS)[number];

/** Bytes that tell what a file is. */
export const HEAD_BYTES = 2 ** 12;

const extensions: Readonly<Record<string, Format>> = {
  jsonl: 'json',
  ndjson: 'json',
  json: 'json',
  csv: 'csv',
  tsv: 'tsv',
  tab: 'tsv',
  txt: 'text',
  text: 'text',
  md: 'text',
  markdown: 'text',
  rst: 'text',
  parquet: 'parquet',
  arrow: 'arrow',
  feather: 'arrow',
  arrows: 'arrow',
  ipc: 'arrow',
};

/** The format that the name of a file tells; compressed or not. Null: none. */
export function formatOfName(file: string): Format | null {
  const name = file.toLowerCase().replace(/\.(gz|gzip|zst|zstd)$/, '');
  const extension = /\.([a-z]+)$/.exec(name)?.[1];
  return extension !== undefined && Object.hasOwn(extensions, extension)
    ? extensions[extension]!
    : null;
}

/** What the first bytes of a file say. */
export type Signature =
  | { readonly kind: 'gzip' | 'zstd' | 'parquet' | 'arrow' }
  /** A format that is not read. */
  | { readonly kind: 'other'; readonly name: string; readonly remedy: string };

const unpack = 'Unpack it, and give the files in it.';
const asLines = 'Write its rows as JSON Lines or Parquet.';
const pickle = 'a Python pickle, which is a program';

/**
 * How files begin, as latin1 text. Letters alone may begin a text, too: `isBinary` asks that the
 * next byte is none of text.
 */
interface Beginning {
  readonly text: string;
  readonly isBinary?: boolean;
  readonly signature: Signature;
}

const read = (text: string, kind: Exclude<Signature['kind'], 'other'>): Beginning => ({
  text,
  signature: { kind },
});
const other = (text: string, name: string, remedy: string): Beginning => ({
  text,
  signature: { kind: 'other', name, remedy },
});
const binary = (beginning: Beginning): Beginning => ({ ...beginning, isBinary: true });

const beginnings: readonly Beginning[] = [
  read('\x1f\x8b', 'gzip'),
  read('\x28\xb5\x2f\xfd', 'zstd'),
  // Frames that are skipped may come first.
  ...Array.from({ length: 16 }, (_, i) => read(`${String.fromCharCode(0x50 + i)}*M\x18`, 'zstd')),
  binary(read('PAR1', 'parquet')),
  read('ARROW1\0\0', 'arrow'),
  read('\xff\xff\xff\xff', 'arrow'),
  binary(other('PARE', 'an encrypted Parquet file', 'Write it without encryption.')),
  binary(
    other(
      'FEA1',
      'a Feather file of version 1, which is no Arrow file',
      'Write it as version 2: pyarrow.feather.write_feather(table, path).',
    ),
  ),
  other('PK\x03\x04', 'a zip archive (or a spreadsheet)', unpack),
  other('\xfd7zXZ\0', 'compressed by xz', unpack),
  ...Array.from({ length: 9 }, (_, i) => other(`BZh${i + 1}1AY&SY`, 'compressed by bzip2', unpack)),
  other('\x04\x22\x4d\x18', 'compressed by lz4', unpack),
  other('7z\xbc\xaf\x27\x1c', 'a 7z archive', unpack),
  other('%PDF-', 'a PDF', 'Extract its text first.'),
  other('SQLite format 3\0', 'an SQLite database', asLines),
  other('Obj\x01', 'an Avro file', asLines),
  other('\x93NUMPY', 'a NumPy array', asLines),
  ...['\x02', '\x03', '\x04', '\x05'].map((version) => other(`\x80${version}`, pickle, asLines)),
  other(
    'version https://git-lfs.github.com/spec/',
    'a pointer of Git LFS, not the file itself',
    'Run `git lfs pull`.',
  ),
  other('\xff\xfe\0\0', 'UTF-32 text', 'Save it as UTF-8.'),
  other('\0\0\xfe\xff', 'UTF-32 text', 'Save it as UTF-8.'),
];

/** Where a tar archive says what it is. */
const TAR_AT = 257;

const isText = (code: number): boolean =>
  (code >= 0x20 && code < 0x7f) || code === 0x09 || code === 0x0a || code === 0x0d;

/** Null: the bytes are text, or tell nothing. */
export function signatureOf(head: Buffer): Signature | null {
  const begins = head.toString('latin1', 0, TAR_AT + 6);
  for (const { text, isBinary, signature } of beginnings)
    if (begins.startsWith(text) && !(isBinary && isText(begins.charCodeAt(text.length))))
      return signature;
  return /^ustar[^a-z]/.test(begins.slice(TAR_AT)) && begins.includes('\0')
    ? { kind: 'other', name: 'a tar archive', remedy: unpack }
    : null;
}

/** The format of a text whose name tells none. Null: it is JSON for no reader. */
export function formatOfText(head: string): Format | null {
  const first = /\S/.exec(head.replace(/^\ufeff/, ''))?.[0];
  return first === '{' || first === '[' ? 'json' : null;
}

/** Whether the first line of a text is one JSON object, whatever the name says. */
export function beginsWithJson(head: string): boolean {
  const line = head
    .replace(/^\ufeff/, '')
    .trimStart()
    .split(/[\r\n]/, 1)[0]!;
  if (!line.startsWith('{')) return false;
  try {
    return typeof JSON.parse(line) === 'object';
  } catch {
    return false;
  }
}
