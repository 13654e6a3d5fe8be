import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fromArrow, fromParquet, isProblem, readRows } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { all, Files, told } from './reading.js';

// The files are pyarrow's: parity/data/odd_tables.py.

const fixture = (name: string): string => join(import.meta.dirname, '../fixtures/tables', name);

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

const chats = Array.from({ length: 40 }, (_, i) => ({
  id: i,
  messages: [
    { role: 'user', content: `question ${i}` },
    { role: 'assistant', content: i % 7 === 3 ? null : `answer ${i} é` },
  ],
  score: i % 5 === 0 ? null : i / 4,
}));

const whole = [
  ...['none', 'snappy', 'gzip', 'zstd', 'lz4', 'brotli', 'v2'].map(
    (name) => `chats-${name}.parquet`,
  ),
  ...['uncompressed', 'lz4', 'zstd'].map((name) => `chats-${name}.feather`),
  'chats-stream.arrow',
  'chats-legacy.arrow',
  'chats-polars.arrow',
  'chats-polars.parquet',
];

describe('tables', () => {
  test.each(whole)('%s', async (name) => {
    const reads = await all(readRows(fixture(name)));
    expect(reads.filter(isProblem)).toEqual([]);
    expect(told(reads)).toEqual(chats);
    expect(reads[7]!.origin).toEqual({ file: fixture(name), row: 7 });
  });

  const values = {
    small: [-1, 0, 1],
    big: [2n ** 53n, 2n ** 53n + 1n, null],
    unsigned: [2n ** 64n - 1n, 0, 1],
    float: [null, 1.5, null],
    flag: [true, false, null],
    text: ['a', '', '日本語\n'],
    day: ['2024-02-29', null, '1960-01-01'],
    time: ['2024-01-02T03:04:05.678901Z', null, '1969-12-31T23:59:59.500Z'],
    price: [12.34, null, -0.05],
  };

  test.each(['types.parquet', 'types.feather'])('values of %s', async (name) => {
    const reads = await all(readRows(fixture(name)));
    // The second row has bytes that are no text.
    expect(reads.map(isProblem)).toEqual([false, true, false]);
    expect(told(reads)[1]).toMatch(/^column "bytes": 2 bytes that are no text; binary: "base64"/);
    const rows = told(await all(readRows(fixture(name), { binary: 'base64' }))) as Record<
      string,
      unknown
    >[];
    for (const [column, expected] of Object.entries(values))
      expect([column, rows.map((row) => row[column])]).toEqual([column, expected]);
    expect(rows.map((row) => row.bytes)).toEqual(['text', '//4=', null]);
    expect(rows.map((row) => row.map)).toEqual([{ k: 1 }, {}, null]);
  });

  test('only the columns that are named', async () => {
    for (const name of ['chats-snappy.parquet', 'chats-lz4.feather']) {
      const reads = await all(readRows(fixture(name), { columns: ['id'] }));
      expect(told(reads)).toEqual(chats.map(({ id }) => ({ id })));
      expect(told(await all(readRows(fixture(name), { columns: ['idd'] })))).toEqual([
        'no column is named "idd"; there are id, messages, score.',
      ]);
    }
  });

  test('blocks of LZ4 that lean on one another', async () => {
    const [row] = told(await all(fromArrow(fixture('long.feather')))) as { text: string }[];
    const text = Array.from({ length: 30_000 }, (_, i) => `word ${(i * i) % 997} `).join('');
    expect(row!.text === text).toBe(true);
  });

  test('Feather 1, compressed tables and other formats are refused in words', async () => {
    expect(told(await all(fromArrow(fixture('version1.feather'))))).toEqual([
      expect.stringContaining('a Feather file of version 1'),
    ]);
    expect(told(await all(fromParquet(fixture('chats-lz4.feather'))))).toEqual([
      'the file is Arrow, and was to be read as Parquet.',
    ]);
    const zipped = gzipSync(await readFile(fixture('chats-none.parquet')));
    expect(told(await files.read('a.parquet.gz', zipped))).toEqual([
      expect.stringContaining('decompress it first'),
    ]);
  });

  test('what comes before a cut of an Arrow file is read; a Parquet file without end is none', async () => {
    for (const name of ['chats-uncompressed.feather', 'chats-stream.arrow']) {
      const bytes = await readFile(fixture(name));
      const reads = await files.read(name, bytes.subarray(0, bytes.length * 0.75));
      expect(told(reads).slice(0, 25)).toEqual(chats.slice(0, 25));
      expect(reads.slice(25).map(isProblem)).toEqual([true]);
    }
    const bytes = await readFile(fixture('chats-none.parquet'));
    expect(told(await files.read('cut.parquet', bytes.subarray(0, 3000)))).toEqual([
      expect.stringContaining('the file is cut off or damaged.'),
    ]);
  });

  test('footers that lie', async () => {
    const bytes = await readFile(fixture('chats-none.parquet'));
    const begun = performance.now();
    for (const length of [0, 7, bytes.length, 2 ** 32 - 1]) {
      const lying = Buffer.from(bytes);
      lying.writeUInt32LE(length, lying.length - 8);
      const reads = await files.read('lying.parquet', lying);
      expect([length, reads.length, reads.every(isProblem)]).toEqual([length, 1, true]);
    }
    expect(performance.now() - begun).toBeLessThan(7000);
  });
});
