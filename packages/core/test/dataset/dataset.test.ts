import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AttuneError, Dataset, loadDataset } from '@attune/core';
import { beforeAll, describe, expect, test } from 'vitest';

let folder = '';
const write = async (name: string, text: string) => {
  await writeFile(join(folder, name), text);
  return join(folder, name);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-dataset-'));
});

describe('loadDataset', () => {
  test('JSON Lines: blank lines, a byte order mark, Windows line ends, no last newline', async () => {
    const file = await write('a.jsonl', '\uFEFF{"n":1}\r\n\r\n{"n":2,"t":"a\u2028b"}\n{"n":3}');
    const data = await loadDataset('json', { dataFiles: file });
    expect(data.toArray()).toEqual([{ n: 1 }, { n: 2, t: 'a\u2028b' }, { n: 3 }]);
    expect(data.origin(1)).toBe(`${file}:3`);
    expect(data.columnNames).toEqual(['n']);
  });

  test('one array, over several lines', async () => {
    const file = await write('a.json', '\n[\n {"n": 1},\n {"n": 2}\n]\n');
    const data = await loadDataset('json', { dataFiles: [file] });
    expect(data.length).toBe(2);
    expect(data.origin(1)).toBe(`${file}[1]`);
  });

  test('a file longer than what is read at once', async () => {
    const rows = Array.from({ length: 5000 }, (_, n) => `{"n":${n},"pad":"${'é'.repeat(20)}"}`);
    const file = await write('long.jsonl', rows.join('\n'));
    const data = await loadDataset('json', { dataFiles: file });
    expect(data.length).toBe(5000);
    expect(data.at(-1)).toEqual({ n: 4999, pad: 'é'.repeat(20) });
  });

  test('splits: by name, by part', async () => {
    const rows = (from: number) =>
      Array.from({ length: 10 }, (_, i) => `{"n":${from + i}}`).join('\n');
    const dataFiles = {
      train: [await write('t1.jsonl', rows(0)), await write('t2.jsonl', rows(10))],
      test: await write('t3.jsonl', rows(20)),
    };
    const numbers = async (split?: string) =>
      (await loadDataset('json', { dataFiles, ...(split && { split }) })).map((r) => r.n).toArray();
    expect(await numbers('test[:2]')).toEqual([20, 21]);
    expect(await numbers('train[9:11]')).toEqual([9, 10]);
    expect(await numbers('train[90%:]')).toEqual([18, 19]);
    expect(await numbers('train[-1:]')).toEqual([19]);
    await expect(numbers()).rejects.toThrow(/DATASET_SPLIT.*2 splits.*\n.*"train", "test"/);
    await expect(numbers('tset')).rejects.toThrow(/Did you mean "test"/);
    await expect(numbers('test[x:]')).rejects.toThrow(/"x" in a split/);
  });

  test('lines of text', async () => {
    const file = await write('a.txt', 'one\n\ntwo\n');
    const data = await loadDataset('text', { dataFiles: file });
    expect(data.toArray()).toEqual([{ text: 'one' }, { text: 'two' }]);
  });

  for (const [name, text, message] of [
    ['bad.jsonl', '{"a":1}\n{"a":\n', /DATASET_JSON: .*bad\.jsonl:2: not JSON/],
    ['scalar.jsonl', '{"a":1}\n7\n', /scalar\.jsonl:2: a row is an object.*7/],
    [
      'bad.json',
      '[\n{"a":1},\n{"a" 2}\n]',
      /DATASET_JSON: .*bad\.json:3: not JSON: "2" where ":" should be, at column 6/,
    ],
    ['mixed.json', '[{"a":1}, 3]', /mixed\.json\[1\]: a row is an object/],
    ['empty.jsonl', '\n\n', /DATASET_EMPTY: .*empty\.jsonl has no rows/],
    ['none.json', '[]', /DATASET_EMPTY/],
  ] as const)
    test(`${name} is refused, with the place`, async () => {
      const file = await write(name, text);
      await expect(loadDataset('json', { dataFiles: file })).rejects.toThrow(message);
    });

  test('a missing file, a folder, no file, another format', async () => {
    const load = (dataFiles: string) => loadDataset('json', { dataFiles });
    await expect(load(join(folder, 'nope.jsonl'))).rejects.toThrow(
      /DATASET_FILE: .*nope\.jsonl does not exist/,
    );
    await expect(load(folder)).rejects.toThrow(/is a folder/);
    await expect(loadDataset('json', {} as never)).rejects.toThrow(/no dataFiles/);
    await expect(loadDataset('csv' as never, { dataFiles: 'a' })).rejects.toThrow(
      /DATASET_FORMAT.*\n.*"json"/,
    );
  });
});

describe('Dataset', () => {
  const data = Dataset.from([0, 1, 2, 3, 4].map((n) => ({ n })));
  const numbers = (d: Dataset<{ n: number }>) => d.map((r) => r.n).toArray();

  test('rows keep their origin through every change', () => {
    const odd = data.filter((r) => r.n % 2 === 1).map((r) => ({ n: r.n * 10 }));
    expect(numbers(odd)).toEqual([10, 30]);
    expect([odd.origin(0), odd.origin(1)]).toEqual(['rows[1]', 'rows[3]']);
    expect(data.select([4, -2]).origin(1)).toBe('rows[3]');
  });

  test('select: a count, more than there are, indices', () => {
    expect(numbers(data.select(2))).toEqual([0, 1]);
    expect(data.select(64).length).toBe(5);
    expect(numbers(data.select([3, 3, -1]))).toEqual([3, 3, 4]);
    expect(() => data.select([5])).toThrow(/ROW_OUT_OF_RANGE/);
    expect(() => data.select(1.5)).toThrow(AttuneError);
    expect(() => data.at(5)).toThrow(/5 rows: 0 to 4/);
  });

  test('shuffle: a permutation that the seed decides', () => {
    const big = Dataset.from(Array.from({ length: 100 }, (_, n) => ({ n })));
    const order = numbers(big.shuffle(1));
    expect(order).not.toEqual(numbers(big));
    expect([...order].sort((a, b) => a - b)).toEqual(numbers(big));
    expect(numbers(big.shuffle(1))).toEqual(order);
    expect(numbers(big.shuffle(2))).not.toEqual(order);
  });

  test('iterating starts anew each time, also async', async () => {
    for (let pass = 0; pass < 2; pass++) {
      const seen: number[] = [];
      for await (const { n } of data) seen.push(n);
      expect(seen).toEqual([0, 1, 2, 3, 4]);
    }
    expect([...data]).toHaveLength(5);
  });
});
