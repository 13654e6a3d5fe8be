import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { Rng } from '@attune/core/util';
import { isProblem } from '@attune/data';
import {
  type Data,
  Table,
  tableFromIPC,
  tableToIPC,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { valuesOf } from '../../src/sources/tables/arrowValues.js';
import type { TableAnswer } from '../../src/sources/tables/messages.js';
import { parquetRows } from '../../src/sources/tables/parquet.js';
import { checkRuns, checkValues } from '../../src/sources/tables/parquetChecks.js';
import { decompressed, ownConversion } from '../../src/sources/tables/parquetValues.js';
import { Patience } from '../../src/sources/tables/patience.js';
import { plainValue } from '../../src/sources/tables/plainValue.js';
import { Files } from './reading.js';

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

const fixture = (name: string): string => join(import.meta.dirname, '../fixtures/tables', name);

/** What the process would answer, here: nothing may loop. */
async function answers(file: string): Promise<TableAnswer[]> {
  const told: TableAnswer[] = [];
  const job = { kind: 'parquet', file, columns: null, binary: 'base64' } as const;
  for await (const answer of parquetRows(job, new Patience())) told.push(answer);
  return told;
}

function damaged(bytes: Buffer, rng: Rng): Buffer {
  const copy = Buffer.from(bytes);
  const at = 6 + rng.below(copy.length - 12);
  const how = rng.below(6);
  if (how === 0) return copy.subarray(0, at);
  if (how === 1) return Buffer.concat([copy, copy.subarray(0, at)]);
  if (how === 2) copy.fill(rng.below(2) * 0xff, at, at + 1 + rng.below(20));
  else if (how === 3) copy.writeInt32LE([-1, 0, 2 ** 31 - 1, 2 ** 24][rng.below(4)]!, at & ~3);
  else copy[at]! ^= 1 << rng.below(8);
  return copy;
}

const names = [
  ...['none', 'snappy', 'gzip', 'zstd', 'lz4', 'brotli', 'v2'].map(
    (name) => `chats-${name}.parquet`,
  ),
  'types.parquet',
];

test.each(names)('%s, damaged, comes to an end in rows and problems', async (name) => {
  const bytes = await readFile(fixture(name));
  const rng = new Rng(18, 5);
  for (let i = 0; i < 60; i++) {
    const file = await files.write(`${i}-${name}`, damaged(bytes, rng));
    for (const answer of await answers(file).catch((error: Error) => [error])) {
      if (answer instanceof Error) expect(answer.message).toMatch(/./);
      else if (answer.kind === 'gap') expect(answer.problem).toMatch(/^[^\n]{10,}\.$/);
      else if (answer.kind === 'rows') expect(answer.rows.length).toBeGreaterThan(0);
    }
  }
});

test.each(['chats-uncompressed.feather', 'chats-lz4.feather', 'chats-stream.arrow'])(
  '%s, damaged, comes to an end in rows and problems',
  async (name) => {
    const bytes = await readFile(fixture(name));
    const rng = new Rng(18, 6);
    for (let i = 0; i < 6; i++) {
      const reads = await files.read(`${i}-${name}`, damaged(bytes, rng));
      const problems = reads.filter(isProblem).map(({ problem }) => problem);
      expect(problems.filter((problem) => !/^[^\n]{10,}\.$/.test(problem))).toEqual([]);
      expect(reads.length).toBeGreaterThan(0);
    }
  },
);

test('an Arrow file whose messages are not where its footer has them gives no other values', async () => {
  const bytes = await readFile(fixture('chats-uncompressed.feather'));
  const sound = await files.read('sound.feather', bytes);
  expect(sound.filter(isProblem)).toEqual([]);
  // The schema, then a batch: a mark of four bytes, the length of its head, the head, its body.
  const at = 8 + 8 + bytes.readInt32LE(12);
  expect(bytes.readUInt32LE(at)).toBe(0xffffffff);
  const head = bytes.readInt32LE(at + 4);
  for (const length of [head + 8, head - 8, head + 64, 0]) {
    const copy = Buffer.from(bytes);
    copy.writeInt32LE(length, at + 4);
    const reads = await files.read(`head-${length}.feather`, copy);
    expect(reads).toMatchObject([
      { problem: expect.stringMatching(/behind 0 rows.*footer|batch/) },
    ]);
  }
});

test('an Arrow file with its schema in the footer alone', async () => {
  const table = new Table({
    word: vectorFromArray(['a', 'b', 'a', null]),
    n: vectorFromArray([1, 2, 3, 4]),
  });
  const reads = await files.read('footer.arrow', Buffer.from(tableToIPC(table, 'file')));
  const rows = ['a', 'b', 'a', null].map((word, i) => ({ word, n: i + 1 }));
  expect(reads).toMatchObject(rows.map((row) => ({ row })));
});

test('bytes behind the end of an Arrow stream are told', async () => {
  const bytes = await readFile(fixture('chats-stream.arrow'));
  const rows = await files.read('sound.arrow', bytes);
  const twice = await files.read('twice.arrow', Buffer.concat([bytes, bytes]));
  expect(twice.slice(0, -1)).toMatchObject(
    rows.map((read) => ({ row: 'row' in read && read.row })),
  );
  expect(twice.at(-1)).toMatchObject({
    problem: expect.stringContaining(`${bytes.length} bytes behind its end`),
  });
});

describe('batches that lie', () => {
  const table = (name: string, values: Vector): Data => {
    const bytes = tableToIPC(new Table({ [name]: values }), 'stream');
    return tableFromIPC(bytes).batches[0]!.data.children[0]!;
  };
  const texts = () => table('a', vectorFromArray(['one', null, 'three'], new Utf8()));

  test('as they are', () => {
    const read = valuesOf(texts(), 'refuse');
    expect([0, 1, 2].map(read)).toEqual(['one', null, 'three']);
  });

  test('offsets that go elsewhere are a problem of their row', () => {
    const data = texts();
    (data.valueOffsets as Int32Array)[3] = 99;
    const read = valuesOf(data, 'refuse');
    expect(read(0)).toBe('one');
    expect(() => read(2)).toThrow(/a value from 3 to 99 of 8/);
  });

  test('bytes that are no text, where the library would have put U+FFFD', () => {
    const data = texts();
    data.values[1] = 0xff;
    const read = valuesOf(data, 'refuse');
    expect(() => read(0)).toThrow(/3 bytes that are no text/);
    expect(read(2)).toBe('three');
  });

  test('another number of nulls', () => {
    const data = texts();
    data.nullBitmap[0] = 0;
    expect(() => valuesOf(data, 'refuse')).toThrow(/3 nulls where there should be 1/);
  });

  test('an index behind the dictionary', () => {
    const data = table('a', vectorFromArray(['a', 'b', 'a']));
    data.values[1] = 7;
    const read = valuesOf(data, 'refuse');
    expect(read(0)).toBe('a');
    expect(() => read(1)).toThrow(/value 7 of a dictionary of 2/);
  });
});

describe('pages that lie', () => {
  const runs = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);

  test.each([
    ['a run longer than the page', runs(0xfe, 0xff, 0xff, 0xff, 0x0f, 1), /a run of 2147483647/],
    ['a run of nothing', runs(0, 1, 0, 1), /a run of 0 values/],
    ['too few', runs(4, 1), /2 levels or indices where there are 8/],
    ['packed values behind the end', runs(0x03), /ends behind its page/],
  ])('%s', (_, page, problem) => {
    expect(() => checkRuns(page, 0, page.length, 1, 8)).toThrow(problem);
    checkRuns(runs(16, 1), 0, 2, 1, 8);
    checkRuns(runs(3, 0xaa), 0, 2, 1, 5);
  });

  const values = (type: string, encoding: string, count: number, bytes: number[]) => () =>
    checkValues({ page: runs(...bytes), at: 0, count, type, encoding, typeLength: 3 } as never);

  test.each([
    ['fewer bytes than numbers', 'INT32', 'PLAIN', 2, [1, 2, 3, 4], /4 bytes for 2 values of 4/],
    ['split bytes', 'FLOAT', 'BYTE_STREAM_SPLIT', 2, [1, 2, 3, 4], /4 bytes for 2 values of 4/],
    ['indices of 40 bits', 'INT32', 'RLE_DICTIONARY', 2, [40, 2, 2], /indices of 40 bits/],
    ['deltas of others', 'INT32', 'DELTA_BINARY_PACKED', 2, [128, 1, 4, 9, 0], /9 deltas where/],
    ['blocks of none', 'INT32', 'DELTA_BINARY_PACKED', 2, [0, 4, 2, 0], /deltas in blocks of 0/],
    [
      'a prefix of what is not there',
      'BYTE_ARRAY',
      'DELTA_BYTE_ARRAY',
      1,
      [128, 1, 4, 1, 10, 128, 1, 4, 1, 2, 65],
      /a prefix of 5 bytes/,
    ],
  ])('%s', (_, type, encoding, count, bytes, problem) => {
    expect(values(type, encoding, count, bytes)).toThrow(problem);
  });

  test('pages of another size than they say', () => {
    const text = Buffer.from('attune '.repeat(20));
    expect(decompressed('GZIP', gzipSync(text), text.length)).toEqual(Uint8Array.from(text));
    expect(() => decompressed('GZIP', gzipSync(text), text.length + 1)).toThrow(/that says 141/);
    expect(() => decompressed('GZIP', gzipSync(text), 10)).toThrow();
    expect(() => decompressed('GZIP', deflateRawSync(text), text.length)).toThrow();
    // One literal of two bytes.
    const block = Uint8Array.from([0x20, 65, 66]);
    expect(decompressed('LZ4_RAW', block, 2)).toEqual(Uint8Array.from([65, 66]));
    expect(() => decompressed('LZ4_RAW', block, 3)).toThrow(/a page of 2 bytes that says 3/);
    expect(() => decompressed('LZ4_RAW', block, 1)).toThrow(/more than 1 bytes/);
    expect(() => decompressed('LZO', text, 3)).toThrow(/compressed by LZO, which is not read/);
  });

  test.each([
    [
      'of a day',
      { logical_type: { type: 'TIME', unit: 'MILLIS' } },
      86_400_000,
      /no time of a day/,
    ],
    ['too many digits', { converted_type: 'DECIMAL', precision: 3, scale: 1 }, 1000, /3 digits/],
    ['an int8', { converted_type: 'INT_8' }, 128, /128 is no integer of 8 bits/],
    ['a uint16', { converted_type: 'UINT_16' }, -1, /-1 is no integer of 16 bits/],
  ])('values that cannot be are a problem of their row: %s', (_, element, value, problem) => {
    const convert = ownConversion(element as never)!;
    expect(() => plainValue(convert(value), 'refuse')).toThrow(problem);
  });

  test('decimals are the nearest numbers, times of a day are texts', () => {
    const decimal = ownConversion({
      converted_type: 'DECIMAL',
      precision: 30,
      scale: 10,
    } as never)!;
    expect(decimal(191015408231753887654321098765n)).toBe(1.9101540823175389e19);
    const time = ownConversion({ converted_type: 'TIME_MICROS' } as never)!;
    expect(time(31211277973n)).toBe('08:40:11.277973');
  });
});
