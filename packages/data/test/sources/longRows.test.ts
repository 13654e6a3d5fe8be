import { Buffer } from 'node:buffer';
import { isProblem } from '@attune/data';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Joiner } from '../../src/sources/joiner.js';
import { Files, told } from './reading.js';

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

test('pieces of a long value are not copied with all before them', () => {
  const joiner = new Joiner();
  const rooms = new Set<ArrayBufferLike>();
  let joined = Buffer.alloc(0);
  let text = '';
  for (let i = 0; i < 200; i++) {
    const piece = `piece ${i} `.padEnd(100, '.');
    text += piece;
    joined = joiner.join(joined, Buffer.from(piece)) as typeof joined;
    rooms.add(joined.buffer);
    // Values at the beginning are taken out.
    if (i === 120) {
      joined = joined.subarray(5000);
      text = text.slice(5000);
    }
  }
  expect(joined.toString()).toBe(text);
  expect(rooms.size).toBeLessThan(12);
});

test('a row of 40 MB within a list', async () => {
  const long = 'a long text with \\"marks\\" '.repeat(1_500_000);
  const text = `[{"a":1},\n{"text":"${long}"},{"a":2}]`;
  const refused = told(await files.read('long.json', text));
  expect(refused).toEqual([{ a: 1 }, expect.stringContaining('raise maxRowBytes'), { a: 2 }]);
  const [, row] = told(await files.read('long.json', text, { maxRowBytes: 2 ** 27 }));
  expect((row as { text: string }).text === JSON.parse(`"${long}"`)).toBe(true);
});

test.each([
  ['open.json', '['.repeat(1_000_000)],
  ['open objects.json', `[\n${'{"a":'.repeat(200_000)}`],
  ['open.jsonl', `{"a":${'['.repeat(1_000_000)}\n`],
  ['closed.jsonl', `{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}\n`],
])(
  '%s: brackets that would fill the memory of JSON.parse are not given to it',
  async (name, text) => {
    const parse = vi.spyOn(JSON, 'parse');
    try {
      const reads = await files.read(name, text);
      expect(reads.map(isProblem)).toEqual([true]);
      expect(parse).not.toHaveBeenCalled();
    } finally {
      parse.mockRestore();
    }
  },
);

test('brackets within texts are no depth', async () => {
  const row = {
    text: '["\\'.repeat(60_000),
    list: Array.from({ length: 500 }, () => [1, { a: '}' }]),
  };
  expect(told(await files.read('texts.jsonl', JSON.stringify(row)))).toEqual([row]);
});
