import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Dataset, IterableDataset, loadDataset, type Row } from '@attune/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../trainer/support.js';

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const numbers = (count: number) => IterableDataset.from(() => Array(count).keys(), 'numbers');
const origins = async (dataset: IterableDataset<unknown>) =>
  (await all(dataset.rows())).map(({ origin }) => origin);

describe('IterableDataset', () => {
  test('begins again each time', async () => {
    const rows = numbers(4);
    expect(await all(rows)).toEqual([0, 1, 2, 3]);
    expect(await all(rows)).toEqual([0, 1, 2, 3]);
  });

  test('map, filter, skip, take; a row keeps its origin', async () => {
    const rows = numbers(20)
      .map(async (n) => n * 10)
      .filter((n) => n % 20 === 0)
      .skip(2)
      .take(3);
    expect(await all(rows)).toEqual([40, 60, 80]);
    expect(await origins(rows)).toEqual(['numbers[4]', 'numbers[6]', 'numbers[8]']);
    expect(await all(numbers(3).take(9))).toEqual([0, 1, 2]);
    expect(await all(numbers(3).take(0))).toEqual([]);
    expect(await all(numbers(3).map((n, i) => [n, i]))).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
  });

  test('reads no further than it is asked', async () => {
    let read = 0;
    let closed = false;
    const endless = IterableDataset.from(async function* () {
      try {
        while (true) yield read++;
      } finally {
        closed = true;
      }
    });
    expect(await all(endless.filter((n) => n % 2 === 1).take(3))).toEqual([1, 3, 5]);
    expect(read).toBe(6);
    expect(closed).toBe(true);
  });

  test('shuffles within its buffer: every row once, by the seed and the epoch alone', async () => {
    const rows = numbers(100).shuffle(7, { bufferSize: 10 });
    const epoch = async (n: number) => (await all(rows.rows(n))).map(({ row }) => row);
    const order = await epoch(0);
    expect(await epoch(0)).toEqual(order);
    expect(await all(rows)).toEqual(order);
    expect(await epoch(1)).not.toEqual(order);
    expect(await all(numbers(100).shuffle(8, { bufferSize: 10 }))).not.toEqual(order);
    // A row comes at most its buffer before its place.
    expect(Math.max(...order.map((row, at) => row - at))).toBeLessThanOrEqual(10);
    await fc.assert(
      fc.asyncProperty(fc.nat(60), fc.integer({ min: 1, max: 70 }), async (count, bufferSize) => {
        const shuffled = await all(numbers(count).shuffle(1, { bufferSize }));
        expect(shuffled.sort((a, b) => a - b)).toEqual([...Array(count).keys()]);
      }),
      { numRuns: 30 },
    );
  });

  test('what is no number of rows, or cannot start again, is refused', () => {
    expect(() => numbers(3).take(-1)).toThrow(/ROW_OUT_OF_RANGE: take\(-1\)/);
    expect(() => numbers(3).skip(0.5)).toThrow(/ROW_OUT_OF_RANGE/);
    expect(() => numbers(3).shuffle(0, { bufferSize: 0 })).toThrow(/bufferSize\(0\)/);
    // @ts-expect-error a generator is used up by one epoch
    expect(() => IterableDataset.from(Array(3).keys())).toThrow(/STREAM_SOURCE/);
  });
});

test('a set in memory becomes a stream, its rows called as before', async () => {
  const stream = Dataset.from([4, 5, 6], 'train').select([2, 0]).toIterableDataset();
  expect(await all(stream)).toEqual([6, 4]);
  expect(await origins(stream)).toEqual(['train[2]', 'train[0]']);
});

describe('loadDataset with streaming', () => {
  const write = async (name: string, text: string) => {
    const file = join(await temporaryFolder(), name);
    await writeFile(file, text);
    return file;
  };
  const lines = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => `{"n":${from + i}}\n`).join('');

  test('the rows of the same files read whole, several files one after another', async () => {
    const dataFiles = [await write('a.jsonl', lines(0, 5)), await write('b.jsonl', lines(5, 8))];
    const stream = await loadDataset('json', { dataFiles, streaming: true });
    const whole = await loadDataset('json', { dataFiles });
    expect(await all(stream)).toEqual(whole.toArray());
    expect(await all(stream)).toEqual(whole.toArray());
    expect(await origins(stream)).toEqual(whole.toArray().map((_, i) => whole.origin(i)));
    const text = await loadDataset('text', { dataFiles: dataFiles[1]!, streaming: true });
    expect(await all(text)).toEqual([5, 6, 7].map((n) => ({ text: `{"n":${n}}` })));
  });

  test('splits count from the start', async () => {
    const dataFiles = { train: await write('a.jsonl', lines(0, 9)) };
    const ns = async (split: string) =>
      (await all(await loadDataset('json', { dataFiles, split, streaming: true }))).map(
        (row: Row) => row.n,
      );
    expect(await ns('train[2:5]')).toEqual([2, 3, 4]);
    expect(await ns('train[7:]')).toEqual([7, 8]);
    expect(await ns('train[:2]')).toEqual([0, 1]);
    for (const split of ['train[:50%]', 'train[-2:]'])
      await expect(ns(split)).rejects.toThrow(/DATASET_SPLIT: .*no known end/);
  });

  test('a file that is missing, empty or no JSON is an error at once', async () => {
    const load = async (dataFiles: string) => loadDataset('json', { dataFiles, streaming: true });
    await expect(load('/no/such.jsonl')).rejects.toThrow(/DATASET_FILE: .*does not exist/);
    await expect(load(await write('e.jsonl', '\n'))).rejects.toThrow(/DATASET_EMPTY/);
    await expect(load(await write('x.jsonl', '{"a":'))).rejects.toThrow(
      /DATASET_JSON: .*x.jsonl:1/,
    );
    await expect(load(await write('a.json', '[7]'))).rejects.toThrow(/DATASET_JSON: .*a.json\[0\]/);
  });

  test('an array too is read row by row', async () => {
    const dataFiles = await write('late.json', '[{"n":1},\n{"n":2},\n{"n":3} oops]');
    const stream = await loadDataset('json', { dataFiles, streaming: true });
    expect(await all(stream.take(2))).toEqual([{ n: 1 }, { n: 2 }]);
    await expect(all(stream)).rejects.toThrow(/DATASET_JSON: .*late.json:3: .*"o" after the end/);
  });

  test('a bad line later on is an error when it is reached, with its line', async () => {
    const dataFiles = await write('late.jsonl', `${lines(0, 3)}oops\n`);
    const stream = await loadDataset('json', { dataFiles, streaming: true });
    expect(await all(stream.take(3))).toHaveLength(3);
    await expect(all(stream)).rejects.toThrow(/DATASET_JSON: .*late.jsonl:4/);
  });
});
