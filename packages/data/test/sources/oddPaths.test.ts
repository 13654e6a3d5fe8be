import { Buffer } from 'node:buffer';
import { appendFileSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromFiles, fromJsonl, isProblem, type ReadRow, readRows } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unlisted } from '../../src/sources/expandPaths.js';
import { all, Files } from './reading.js';

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

describe('folders that cannot be listed are an error, or their files would be lost', () => {
  test('a link to itself', async () => {
    const [one, two] = [join(files.folder, 'one'), join(files.folder, 'two')];
    symlinkSync(one, two);
    symlinkSync(two, one);
    await expect(fromJsonl(`${one}/*.jsonl`).files()).rejects.toThrow(
      /DATA_FILE: the folder .*one cannot be listed: ELOOP/,
    );
  });

  test('one of somebody else', () => {
    const error = Object.assign(new Error('EACCES'), { code: 'EACCES', path: 'raw/private' });
    expect(() => unlisted('raw')(error)).toThrow(
      /DATA_FILE: the folder raw\/private may not be listed by this user/,
    );
    expect(unlisted('raw')(Object.assign(new Error('no'), { code: 'ENOENT' }))).toEqual([]);
  });
});

test('a pattern of folders names no file; links to folders are no files', async () => {
  const folder = join(files.folder, 'links');
  mkdirSync(join(folder, 'deep'), { recursive: true });
  writeFileSync(join(folder, 'deep/a.jsonl'), '{"a":1}\n');
  symlinkSync('..', join(folder, 'deep/up'));
  await expect(fromJsonl(`${folder}/*/`).files()).rejects.toThrow(/no file matches/);
  expect(await fromJsonl(`${folder}/**`).files()).toEqual([join(folder, 'deep/a.jsonl')]);
});

test.runIf(process.platform === 'linux')('a name that is no UTF-8', async () => {
  const folder = join(files.folder, 'names');
  mkdirSync(folder);
  const name = Buffer.concat([
    Buffer.from(`${folder}/n`),
    Buffer.from([0xff]),
    Buffer.from('.jsonl'),
  ]);
  writeFileSync(name, '{"a":1}\n');
  for (const source of [fromJsonl(`${folder}/*.jsonl`), fromFiles(folder)])
    await expect(source.files()).rejects.toThrow(/DATA_FILE: the name of the file .* is not UTF-8/);
});

describe('files that change while they are read', () => {
  const lines = Array.from({ length: 40_000 }, (_, i) => `{"i":${i},"text":"as it was"}\n`);

  async function read(name: string, change: (path: string) => void): Promise<ReadRow[]> {
    const path = await files.write(name, lines.join(''));
    const reads: ReadRow[] = [];
    for await (const one of readRows(path)) {
      if (reads.length === 10) change(path);
      reads.push(one);
    }
    return reads;
  }

  test('cut at the end of a line: a problem', async () => {
    const half = Buffer.byteLength(lines.slice(0, 20_000).join(''));
    const reads = await read('cut.jsonl', (path) => truncateSync(path, half));
    expect(reads).toHaveLength(20_001);
    expect(reads.filter(isProblem).map(({ problem }) => problem)).toEqual([
      expect.stringMatching(/^the file became shorter while it was read, from \d+ bytes;/),
    ]);
  });

  test('what is appended belongs to the next time', async () => {
    const reads = await read('grown.jsonl', (path) => appendFileSync(path, '{"i":-1}\n'));
    expect(reads).toHaveLength(40_000);
    expect(await all(readRows(join(files.folder, 'grown.jsonl')))).toHaveLength(40_001);
  });
});
