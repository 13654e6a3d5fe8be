import { execFileSync } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadDataset } from '@attune/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { splitArray } from '../../src/dataset/jsonArray.js';
import { Pieces, splitLines } from '../../src/dataset/readLines.js';
import { temporaryFolder } from '../trainer/support.js';

let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder();
});
let files = 0;
async function write(content: string | Uint8Array, name = `${files++}.jsonl`): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}
const rowsOf = async (path: string, format: 'json' | 'text' = 'json') =>
  (await loadDataset(format, { dataFiles: path })).toArray();
const latin1 = (text: string) => Buffer.from(text, 'latin1');
const utf16 = (text: string) => Buffer.from(text, 'utf16le');

/** Buffers that count how often one of their bytes is copied. */
async function* chunksOf(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function texts(lines: AsyncIterable<{ text: string; number: number }>) {
  const all: [number, string][] = [];
  for await (const { number, text } of lines) all.push([number, text]);
  return all;
}

describe('whatever is read at once', () => {
  const text = '{"a":"é😀\\"]"}\r\n\n{"b":[1,{"c":"[{"}]}\n{"d":""}';
  const array = `\n[ ${text.trim().split('\n').filter(Boolean).join(',\n')}\n]\n`;
  for (const size of [1, 2, 3, 7, 1000])
    test(`${size} bytes: the same lines, the same items`, async () => {
      expect(await texts(splitLines(chunksOf(Buffer.from(text), size), 'f'))).toEqual([
        [1, '{"a":"é😀\\"]"}'],
        [2, ''],
        [3, '{"b":[1,{"c":"[{"}]}'],
        [4, '{"d":""}'],
      ]);
      const items = await texts(splitArray(chunksOf(Buffer.from(array), size), 'f'));
      expect(items.map(([line, item]) => [line, JSON.parse(item)])).toEqual([
        [2, { a: 'é😀"]' }],
        [3, { b: [1, { c: '[{' }] }],
        [4, { d: '' }],
      ]);
    });
});

test('a line is joined once, however many pieces it came in', async () => {
  const pieces = new Pieces('f', 100);
  for (let i = 0; i < 10; i++) pieces.add(Buffer.from('0123456789'), 3);
  expect(pieces.take(3)).toHaveLength(100);
  for (let i = 0; i < 10; i++) pieces.add(Buffer.from('0123456789'), 3);
  expect(() => pieces.add(Buffer.from('0'), 3)).toThrow(/DATASET_LINE_LENGTH: f:3: .*100 bytes/);
});

test('keys that objects have from birth are keys like others', async () => {
  const path = await write('{"constructor":1,"toString":"x","hasOwnProperty":null}\n');
  const [row] = await rowsOf(path);
  expect(Object.entries(row!)).toEqual([
    ['constructor', 1],
    ['toString', 'x'],
    ['hasOwnProperty', null],
  ]);
});

describe('refused, with the file and the line', () => {
  const good = '{"a":1}\n';
  const deep = (n: number) => `{"a":${'['.repeat(n)}${']'.repeat(n)}}\n`;
  test.each<[string, string | Uint8Array, RegExp]>([
    ['Latin-1', latin1(`${good}{"a":"café"}\n`), /DATASET_ENCODING: .*:2: .*byte 9 is 0xe9/],
    ['cut off in a character', Buffer.from('{"a":"é"}').subarray(0, 7), /ENCODING: .*:1: .*byte 6/],
    ['a lone surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), /ENCODING: .*:1: .*byte 1/],
    ['overlong', Buffer.from([0x7b, 0xc0, 0x80, 0x7d]), /ENCODING: .*:1: .*byte 1 is 0xc0/],
    ['UTF-16', utf16(`\uFEFF${good}`), /DATASET_FILE: .*is UTF-16 text/],
    ['UTF-16 without a mark', utf16(good), /DATASET_FILE: .*is UTF-16 text/],
    ['UTF-16, big endian', utf16(`\uFEFF${good}`).swap16(), /DATASET_FILE: .*is UTF-16 text/],
    ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), /DATASET_FILE: .*is UTF-32 text/],
    ['gzip', Buffer.from([0x1f, 0x8b, 8, 0]), /DATASET_FILE: .*compressed by gzip/],
    ['Parquet', Buffer.from('PAR1\x15\x04'), /DATASET_FILE: .*a Parquet file/],
    ['zeros', Buffer.alloc(100), /DATASET_ENCODING: .*:1: .*NUL/],
    ['a tail of zeros', `${good}${'\0'.repeat(50)}`, /DATASET_ENCODING: .*:2: .*NUL/],
    ['NUL in a string', `${good}{"a":"\0"}`, /DATASET_ENCODING: .*:2: .*NUL/],
    ['a mark in the middle', `${good}\uFEFF${good}`, /DATASET_JSON: .*:2: not JSON: "\uFEFF"/],
    ['nested 1e5 deep', good + deep(1e5), /DATASET_JSON: .*:2: .*more than 256 deep/],
    ['nested objects', `${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}`, /:1: .*more than 256 deep/],
    ['a key twice', `${good}{"a":1,"b":2,"a":3}`, /:2: .*key "a" is there twice, at column 14/],
    ['a key twice within', '{"a":{"b":1,"\\u0062":2}}', /:1: .*key "b" is there twice/],
    ['__proto__', `${good}{"__proto__":{"a":1}}`, /:2: .*named "__proto__"/],
    ['__proto__ in escapes', '{"x":{"__\\u0070roto__":1}}', /:1: .*named "__proto__"/],
    ['an object over lines', '{\n"a": 1\n}\n', /:1: not JSON[\s\S]*one whole JSON object on each/],
    ['an array, __proto__', '[{"a":1},\n{"__proto__":1}]', /:2: .*named "__proto__"/],
    ['an array, Latin-1', latin1('[{"a":1},\n{"a":"é"}]'), /ENCODING: .*:2: .*byte 6 is 0xe9/],
    ['an array, zeros', '[{"a":1},\n\0\0\0]', /ENCODING: .*:2: .*NUL/],
    ['an array, nested 1e5 deep', `[${deep(1e5)}]`, /:1: .*more than 256 deep/],
    ['an array that goes on', '[{"a":1}]\n{"a":2}', /:2: not a JSON array: "{" where nothing more/],
    ['an array with a last comma', '[{"a":1},\n]', /:2: .*"\]" where a row should be/],
    ['an array with two commas', '[{"a":1},,{"a":1}]', /:1: .*"," where a row should be/],
    ['an array without a comma', '[{"a":1}\n{"a":2}]', /:2: not JSON: "{" after the end/],
    [
      'an array without an end',
      '[{"a":1},\n{"a":2}\n',
      /:3: .*ends within the row that begins in line 2/,
    ],
    ['an array, ended in a string', '[{"a":"1', /:1: .*ends within the row/],
    ['an array, cut after a comma', '[{"a":1},', /:1: .*ends where a row should be/],
    ['an array of brackets', '['.repeat(1e5), /DATASET_JSON/],
  ])('%s', async (_, content, message) => {
    await expect(rowsOf(await write(content))).rejects.toThrow(message);
  });

  test('text: Latin-1, UTF-16, zeros', async () => {
    const load = async (content: Uint8Array) => rowsOf(await write(content), 'text');
    await expect(load(latin1('ok\ncafé\n'))).rejects.toThrow(/DATASET_ENCODING: .*:2: .*byte 3/);
    await expect(load(utf16('\uFEFFhello'))).rejects.toThrow(/DATASET_FILE: .*UTF-16/);
    await expect(load(Buffer.from('ok\n\0\0'))).rejects.toThrow(/DATASET_ENCODING: .*:2: .*NUL/);
  });
});

describe('what is no file is refused at once', () => {
  test.skipIf(process.platform === 'win32')('pipes, devices, circles of links', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const circle = join(folder, 'circle');
    await symlink(circle, circle);
    for (const [path, message] of [
      [pipe, /DATASET_FILE: data file .*pipe is a pipe, expected a file/],
      ['/dev/zero', /DATASET_FILE: .*is a device/],
      [circle, /DATASET_FILE: .*leads back to itself/],
      [`${folder}/a\0b`, /DATASET_FILE: .*NUL/],
      [join(folder, 'n'.repeat(5000)), /DATASET_FILE: .*longer than/],
    ] as const)
      for (const format of ['json', 'text'] as const)
        await expect(loadDataset(format, { dataFiles: path })).rejects.toThrow(message);
  });
});
