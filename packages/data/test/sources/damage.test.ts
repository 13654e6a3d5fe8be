import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Rng } from '@attune/core/util';
import { isProblem } from '@attune/data';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Files } from './reading.js';
import { ZSTD_ROWS } from './zstdFrames.js';

// Files that are cut anywhere or have flipped bits: reading ends, and what is missing is told where
// the format can tell.

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

const rows = Array.from({ length: 60 }, (_, i) => ({ id: i, text: `row ${i} "é"`, list: [{ i }] }));
const lines = rows.map((row) => JSON.stringify(row));
const csv = rows.map(({ id }) => `${id},"text ""${id}""\nmore"`).join('\n');
const formats: readonly (readonly [name: string, bytes: Buffer])[] = [
  ['a.jsonl', Buffer.from(lines.join('\n'))],
  ['a.json', Buffer.from(`[\n${lines.join(',\n')}\n]`)],
  ['pretty.json', Buffer.from(JSON.stringify(rows, null, 2))],
  ['one line.json', Buffer.from(JSON.stringify(rows))],
  ['utf16.jsonl', Buffer.from(`\ufeff${lines.join('\n')}`, 'utf16le')],
  ['a.csv', Buffer.from(`id,text\n${csv}\n`)],
  ['a.txt', Buffer.from(lines.join('\n\n'))],
];

function damaged(bytes: Buffer, rng: Rng): Buffer {
  if (rng.below(3) === 0) return bytes.subarray(0, rng.below(bytes.length));
  const copy = Buffer.from(bytes);
  for (let flips = 1 + rng.below(4); flips > 0; flips--)
    copy[rng.below(copy.length)]! ^= 1 << rng.below(8);
  return copy;
}

const isSentence = (text: string): boolean => /^[^\n]{10,}\.$/.test(text);

test.each(formats)('%s, damaged', async (name, bytes) => {
  const rng = new Rng(18, 1);
  for (let i = 0; i < 60; i++) {
    const reads = await files.read(name, damaged(bytes, rng));
    const problems = reads.filter(isProblem).map(({ problem }) => problem);
    expect(problems.filter((problem) => !isSentence(problem))).toEqual([]);
  }
});

test.each([
  ['a.jsonl.gz', gzipSync(lines.join('\n')), 60],
  ['a.jsonl.zst', ZSTD_ROWS, 40],
] as const)('%s, damaged, gives all rows as they were or a problem', async (name, bytes, count) => {
  const rng = new Rng(18, 2);
  const whole = (await files.read(name, bytes)).map((read) => JSON.stringify(read));
  expect(whole.length).toBe(count);
  for (let i = 0; i < 40; i++) {
    const broken = damaged(bytes, rng);
    if (broken.length === 0) continue;
    const reads = await files.read(name, broken).catch(() => []);
    const same =
      JSON.stringify(reads.map((read) => JSON.stringify(read))) === JSON.stringify(whole);
    expect([i, same || reads.some(isProblem) || reads.length === 0]).toEqual([i, true]);
  }
});

test('a flipped bit of a Parquet page that makes a run of 2^31 values is a problem', async () => {
  const fixture = join(import.meta.dirname, '../fixtures/tables/chats-v2.parquet');
  const bytes = await readFile(fixture);
  const rng = new Rng(18, 3);
  for (let i = 0; i < 4; i++) {
    const copy = Buffer.from(bytes);
    // The levels of the first pages: lengths of runs.
    for (let at = 30; at < 60; at++) copy[at] = 0xff - rng.below(8);
    const reads = await files.read('runs.parquet', copy);
    expect(reads.some(isProblem)).toBe(true);
  }
});
