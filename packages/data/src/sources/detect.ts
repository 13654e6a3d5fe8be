import { Buffer } from 'node:buffer';

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
const signatures: readonly (readonly [bytes: Buffer, Signature])[] = [
  [Buffer.from([0x1f, 0x8b]), { kind: 'gzip' }],
  [Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), { kind: 'zstd' }],
  [Buffer.from('PAR1'), { kind: 'parquet' }],
  [Buffer.from('ARROW1'), { kind: 'arrow' }],
  [Buffer.from([0xff, 0xff, 0xff, 0xff]), { kind: 'arrow' }],
  ...(
    [
      [Buffer.from('PARE'), 'an encrypted Parquet file', 'Write it without encryption.'],
      [
        Buffer.from('FEA1'),
        'a Feather file of version 1, which is no Arrow file',
        'Write it as version 2: pyarrow.feather.write_feather(table, path).',
      ],
      [Buffer.from('PK\x03\x04'), 'a zip archive (or a spreadsheet)', unpack],
      [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), 'compressed by xz', unpack],
      [Buffer.from('BZh'), 'compressed by bzip2', unpack],
      [Buffer.from([0x04, 0x22, 0x4d, 0x18]), 'compressed by lz4', unpack],
      [Buffer.from([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]), 'a 7z archive', unpack],
      [Buffer.from('%PDF-'), 'a PDF', 'Extract its text first.'],
      [Buffer.from('SQLite format 3\0'), 'an SQLite database', 'Export its tables as JSON Lines.'],
      [Buffer.from('Obj\x01'), 'an Avro file', 'Write it as Parquet or JSON Lines.'],
      [Buffer.from('ORC'), 'an ORC file', 'Write it as Parquet or JSON Lines.'],
      [Buffer.from('\x93NUMPY'), 'a NumPy array', 'Write its rows as JSON Lines.'],
      [Buffer.from([0x80, 0x04, 0x95]), 'a Python pickle, which is a program', 'Write JSON Lines.'],
      [Buffer.from([0x80, 0x05, 0x95]), 'a Python pickle, which is a program', 'Write JSON Lines.'],
      [
        Buffer.from('version https://git-lfs.github.com/spec/'),
        'a pointer of Git LFS, not the file itself',
        'Run `git lfs pull`.',
      ],
    ] as const
  ).map(([bytes, name, remedy]): readonly [Buffer, Signature] => [
    bytes,
    { kind: 'other', name, remedy },
  ]),
];

/** Null: the bytes are text, or tell nothing. */
export function signatureOf(head: Buffer): Signature | null {
  for (const [bytes, signature] of signatures)
    if (head.subarray(0, bytes.length).equals(bytes)) return signature;
  // A zstd frame that is skipped may come first.
  if (head.length >= 4 && (head.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50)
    return { kind: 'zstd' };
  return null;
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
