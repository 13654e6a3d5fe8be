import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fromJsonl, isProblem, type ReadRow, type ReadRowsOptions, readRows } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-data-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(name: string, bytes: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

async function all(rows: AsyncIterable<ReadRow>): Promise<ReadRow[]> {
  const reads: ReadRow[] = [];
  for await (const read of rows) reads.push(read);
  return reads;
}

/** Rows, and problems as texts, with their lines. */
async function reads(name: string, bytes: string | Uint8Array, options?: ReadRowsOptions) {
  const list = await all(readRows(await written(name, bytes), options));
  expect(list.map(({ origin }) => origin.row)).toEqual(list.map((_, i) => i));
  return list.map((read) => [
    read.origin.line,
    isProblem(read) ? read.problem : (read.row as unknown),
  ]);
}

describe('JSON Lines', () => {
  test('each line is a row or a problem with its line and column', async () => {
    const text = '\ufeff{"a":1}\r\n\r\n  \n{"a":2,}\n[1]\n7\n{"a":"x\n{"a":3}';
    const list = await all(readRows(await written('a.jsonl', text)));
    expect(list.map(({ origin }) => origin.line)).toEqual([1, 4, 5, 6, 7, 8]);
    expect(list[1]).toEqual({
      problem: 'not JSON: "}" where a key should begin, at column 8.',
      origin: { file: join(folder, 'a.jsonl'), row: 1, line: 4 },
      raw: '{"a":2,}',
    });
    expect(list.map((read) => (isProblem(read) ? read.problem : read.row))).toEqual([
      { a: 1 },
      expect.stringContaining('column 8'),
      'a row is an object with named fields, e.g. {"text": "..."}; this is [1].',
      'a row is an object with named fields, e.g. {"text": "..."}; this is 7.',
      expect.stringContaining('a text that does not end'),
      { a: 3 },
    ]);
  });

  test('what JSON.parse would lose is kept, or is a problem', async () => {
    const lines = [
      '{"n":9007199254740993}',
      '{"n":[-12345678901234567890,{"m":9007199254740991}]}',
      '{"a":1,"a":2}',
      '{"a":{"b":1, "b" : 2}}',
      '{"__proto__":{"x":1}}',
      '{"n":1e400}',
      '{"a":NaN}',
      '{"text":"a colon\\":{\\"a\\":1,\\"a\\":2}"}',
      '{"n":1e20,"url":"http://x:80"}',
      `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    ];
    const rows = await reads('b.jsonl', lines.join('\n'));
    expect(rows.map(([, read]) => read)).toEqual([
      { n: 9007199254740993n },
      { n: [-12345678901234567890n, { m: 9007199254740991 }] },
      'not JSON: the key "a" is there twice, at column 8.',
      'not JSON: the key "b" is there twice, at column 14.',
      'not JSON: a key may not be named "__proto__", at column 2.',
      'not JSON: the number 1e400 is beyond float64, at column 6.',
      'not JSON: "N" where a value should be, at column 6 (nonFinite: "null" reads null for NaN).',
      { text: 'a colon":{"a":1,"a":2}' },
      { n: 1e20, url: 'http://x:80' },
      'not JSON: lists and objects are nested more than 256 deep, at column 261.',
    ]);
    const lenient = { duplicateKeys: 'last', nonFinite: 'null' } as const;
    expect(await reads('c.jsonl', `${lines[2]}\n${lines[6]}`, lenient)).toEqual([
      [1, { a: 2 }],
      [2, { a: null }],
    ]);
  });

  test('invalid UTF-8 is a problem of its line; another encoding can be named', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"a":"ü\ufffd"}\n{"a":"'),
      Buffer.from([0xe9]),
      Buffer.from('"}\n{"a":3}\n'),
    ]);
    expect(await reads('d.jsonl', bytes)).toEqual([
      [1, { a: 'ü\ufffd' }],
      [
        2,
        'not UTF-8 text: byte 6 of the row (byte 20 of the text) is 0xe9. If the file has another encoding, name it, e.g. encoding: "windows-1252".',
      ],
      [3, { a: 3 }],
    ]);
  });

  test('a row that is longer than is read is a problem; those behind it come', async () => {
    const long = JSON.stringify({ text: 'x'.repeat(600_000) });
    const text = `{"a":1}\n${long}\n{"a":2}\n`;
    expect(await reads('e.jsonl', text, { maxRowBytes: 1000 })).toEqual([
      [1, { a: 1 }],
      [2, expect.stringContaining('the row has 586 KiB, and at most 1000 bytes are read')],
      [3, { a: 2 }],
    ]);
    expect((await reads('e.jsonl', text)).length).toBe(3);
    expect((await reads('f.jsonl', long, { maxRowBytes: 1000 })).length).toBe(1);
  });

  test('line ends may be \\r alone, or differ', async () => {
    expect(await reads('g.jsonl', '{"a":1}\r{"a":2}\r{"a":3}')).toEqual([
      [1, { a: 1 }],
      [2, { a: 2 }],
      [3, { a: 3 }],
    ]);
    expect(await reads('h.jsonl', '{"a":1}\n{"a":2}\r{"a":3}\r\n{"a":4}')).toEqual([
      [1, { a: 1 }],
      [2, { a: 2 }],
      [2, { a: 3 }],
      [3, { a: 4 }],
    ]);
  });

  test('gzip: members side by side; what comes before a cut is read', async () => {
    const one = gzipSync('{"a":1}\n{"a":');
    const two = gzipSync('2}\n{"a":3}\n');
    const whole = Buffer.concat([one, two]);
    expect((await reads('i.jsonl.gz', whole)).map(([, row]) => row)).toEqual([
      { a: 1 },
      { a: 2 },
      { a: 3 },
    ]);
    // Its name does not matter.
    expect((await reads('i.jsonl', whole)).length).toBe(3);
    expect(await reads('j.jsonl.gz', whole.subarray(0, one.length + 12))).toEqual([
      [1, { a: 1 }],
      [2, 'gzip: unexpected end of file; what comes behind is not read.'],
    ]);
    expect(await reads('k.jsonl.gz', Buffer.concat([whole, Buffer.from('garbage')]))).toEqual([
      [1, { a: 1 }],
      [2, { a: 2 }],
      [3, { a: 3 }],
      [4, 'gzip: incorrect header check; what comes behind is not read.'],
    ]);
    expect((await reads('l.jsonl.gz', Buffer.concat([whole, Buffer.alloc(600)]))).length).toBe(3);
    const behind = Buffer.concat([whole, Buffer.alloc(600), Buffer.from('x')]);
    expect((await reads('m.jsonl.gz', behind)).length).toBe(4);
  });
});

describe('files that cannot be opened', () => {
  test.each([
    ['missing.jsonl', 'does not exist'],
    ['.', 'is a folder'],
    ['pipe', 'is a pipe'],
  ])('%s %s', async (name, message) => {
    if (name === 'pipe') execFileSync('mkfifo', [join(folder, name)]);
    await expect(all(readRows(join(folder, name)))).rejects.toThrow(message);
  });

  test('a device', async () => {
    await expect(all(readRows('/dev/zero'))).rejects.toThrow(/DATA_FILE: .*is a device/);
  });
});

describe('patterns', () => {
  test('name files in a fixed order; what matches nothing says what is there', async () => {
    await mkdir(join(folder, 'raw/deep'), { recursive: true });
    for (const name of [
      'b.jsonl',
      'a.jsonl',
      'c.json',
      '.hidden.jsonl',
      'deep/d.jsonl',
      '[x].jsonl',
    ])
      await written(`raw/${name}`, `{"name":${JSON.stringify(name)}}\n`);
    const files = async (pattern: string) =>
      (await fromJsonl(join(folder, pattern)).files()).map((path) => path.slice(folder.length + 1));
    expect(await files('raw/*.jsonl')).toEqual(['raw/[x].jsonl', 'raw/a.jsonl', 'raw/b.jsonl']);
    expect(await files('raw/**/*.jsonl')).toEqual([
      'raw/[x].jsonl',
      'raw/a.jsonl',
      'raw/b.jsonl',
      'raw/deep/d.jsonl',
    ]);
    expect(await files('raw/{c,b}.json*')).toEqual(['raw/b.jsonl', 'raw/c.json']);
    expect(await files('raw/[!a].jsonl')).toEqual(['raw/b.jsonl']);
    expect(await files('raw/[x].jsonl')).toEqual(['raw/[x].jsonl']);
    await expect(files('raw/*.jsonI')).rejects.toThrow(
      /no file matches ".*"; ".*raw" has \[x\].jsonl, a.jsonl, b.jsonl, c.json, deep/,
    );
    const rows = fromJsonl([join(folder, 'raw/b.jsonl'), join(folder, 'raw/*.jsonl')]);
    expect((await all(rows)).map((read) => 'row' in read && read.row.name)).toEqual([
      'b.jsonl',
      '[x].jsonl',
      'a.jsonl',
    ]);
    // Again from the beginning.
    expect((await all(rows)).length).toBe(3);
    await expect(all(fromJsonl(join(folder, 'raw')))).rejects.toThrow('is a folder');
    expect(() => fromJsonl('x', { maxLine: 1 } as never)).toThrow('maxLine');
    await expect(fromJsonl(7 as never).files()).rejects.toThrow('number 7');
  });
});
