import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Row } from '@attune/core';
import { dedupe, pipeline } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { words } from './texts.js';

const texts = (rows: readonly Row[]) => rows.map(({ text }) => text);
const rowsOf = (...all: string[]) => all.map((text) => ({ text }));

describe('exact', () => {
  test('case, white space, width and what nobody sees do not count', async () => {
    const same = [
      'Hello, World 12',
      'hello,  world\n12 ',
      'Ｈｅｌｌｏ，　Ｗｏｒｌｄ　１２',
      'hel\u00adlo, wor\u200bld 12',
    ];
    const { rows, dropped, report } = await dedupe(rowsOf(...same, 'hello world 12'));
    expect(texts(rows)).toEqual(['Hello, World 12', 'hello world 12']);
    expect(dropped.map(({ reason, detail }) => [reason, detail])).toEqual(
      [1, 2, 3].map(() => ['duplicate', 'of rows[0]']),
    );
    expect(report.facts.duplicates).toMatchObject({ exact: 3, near: 0 });
  });

  test.each([
    ['ignoreCase', 'a B', 'A b'],
    ['ignoreSpace', 'a b', 'a  b'],
    ['ignoreWidth', 'ａｂ', 'ab'],
  ])('%s can be turned off', async (name, a, b) => {
    expect((await dedupe(rowsOf(a, b))).rows).toHaveLength(1);
    expect((await dedupe(rowsOf(a, b), { exact: { [name]: false } })).rows).toHaveLength(2);
  });

  test('rows in every format are compared by all of their text', async () => {
    const { rows } = await dedupe([
      { prompt: 'Two plus two?', completion: 'Four.' },
      {
        messages: [
          { role: 'user', content: 'Two plus two?' },
          { role: 'assistant', content: 'Four.' },
        ],
      },
      { prompt: 'Two plus two?', completion: 'Five.' },
    ]);
    expect(rows).toHaveLength(2);
  });

  test('rows without text stay, and the report says so', async () => {
    const { rows, report } = await dedupe(rowsOf('', '  ', ''), { near: true });
    expect(rows).toHaveLength(3);
    expect(report.warnings).toEqual(['3 rows have no text to compare; they stay.']);
  });

  test('text says what is compared; what is no string is an error with the row', async () => {
    const { rows } = await dedupe(
      [
        { a: 1, b: 'x' },
        { a: 2, b: 'x' },
      ],
      { text: (row) => String(row.b) },
    );
    expect(rows).toEqual([{ a: 1, b: 'x' }]);
    await expect(dedupe([{ a: 1 }], { text: (row) => row.a as string })).rejects.toThrow(
      'dedupe: text gave number 1 for rows[0]; expected a string.',
    );
  });

  test('rows are given as they come', async () => {
    let read = 0;
    async function* endless() {
      for (;;) yield { text: `row ${Math.floor(read++ / 2)}` };
    }
    const given: unknown[] = [];
    for await (const row of dedupe(endless(), { near: true }))
      if (given.push(row.text) === 3) break;
    expect(given).toEqual(['row 0', 'row 1', 'row 2']);
    expect(read).toBe(5);
  });
});

test('options that look for nothing, or that MinHash cannot keep', async () => {
  const refused = (options: Parameters<typeof dedupe>[1]) => expect(() => dedupe([], options));
  refused({ exact: false }).toThrow('with near false and no semantic nothing is looked for');
  refused({ near: { banding: { bands: 1e9, rows: 1e9 } } }).toThrow(
    'more hashes than permutations',
  );
  refused({ near: { banding: { bands: 30, rows: 6 } } }).toThrow('more hashes than permutations');
  const banding = { bands: 30, rows: 6 };
  expect((await dedupe([], { near: { banding, permutations: 180 } })).rows).toEqual([]);
  const { report } = await dedupe([{ text: 'a' }], { near: { threshold: 0.01 } });
  expect(report.warnings).toEqual([
    'bands x rows of 128 x 1 find 72.4 % of the near-duplicates right at the threshold 0.01; more permutations find more.',
  ]);
  expect(report.facts.near).toMatchObject({ bands: 128, rows: 1, recall: 1 - 0.99 ** 128 });
});

test('what is no rows is refused, the path of a file above all', async () => {
  for (const rows of ['rows.jsonl', null, 7, {}] as never[])
    await expect(dedupe(rows)).rejects.toThrow(/DATA_ROWS: rows is .*expected rows/);
  expect(() => pipeline('rows.jsonl' as never)).toThrow('Write fromFiles("rows.jsonl")');
  for (const seed of [-1, 1.5, Number.NaN, 2 ** 53, '1' as never]) {
    expect(() => pipeline([], { seed })).toThrow(/INVALID_OPTION: pipeline: seed is/);
    expect(() => dedupe([], {}, { seed })).toThrow(/INVALID_OPTION: dedupe: seed is/);
  }
  for (const [services, message] of [
    [{ sede: 1 }, 'there is no option "sede". Did you mean "seed"?'],
    [{ signal: 'stop' }, 'signal is "stop"; expected an AbortSignal'],
    [{ attune: {} }, 'attune is {}; expected an Attune of createAttune(...)'],
    [{ cache: new Set() }, 'expected a cache with get and set'],
  ] as const)
    expect(() => dedupe([], {}, services as never)).toThrow(message);
});

describe('which row stays', () => {
  const long = words(60, 7);
  const changed = long.replace(/^\S+/, 'other');

  test('the longest, or the one with the best number', async () => {
    const rows = [
      { text: long, score: 1 },
      { text: `${changed} and thereafter`, score: 3 },
      { text: changed, score: 2 },
    ];
    const kept = async (options: Parameters<typeof dedupe>[1]) =>
      (await dedupe(rows, { near: true, ...options })).rows.map(({ score }) => score);
    expect(await kept({})).toEqual([1]);
    expect(await kept({ keep: 'longest' })).toEqual([3]);
    expect(await kept({ keep: { column: 'score' } })).toEqual([3]);
    expect(await kept({ keep: { column: 'score', order: 'lowest' } })).toEqual([1]);
    const rated = rows.map((row, i) => (i === 0 ? { ...row, quality: 1 } : row));
    const { report } = await dedupe(rated, { keep: { column: 'quality' } });
    expect(report.warnings).toEqual(['2 rows have no number in the column to keep by.']);
    await expect(dedupe(rows, { keep: { column: 'quality' } })).rejects.toThrow(
      'DATA_COLUMN: dedupe: none of 3 rows has a number in "quality"',
    );
  });

  test('a row of the test set stays, and its copy in the training set goes', async () => {
    const at = (text: string, split: 'train' | 'validation' | 'test', row: number) => ({
      row: { text, row },
      origin: { file: 'a.jsonl', row, line: row + 1 },
      split,
    });
    const { rows, dropped, report } = await dedupe(
      [
        at(long, 'train', 0),
        at('validation first', 'validation', 1),
        at(changed, 'test', 2),
        at('Validation first', 'test', 3),
        at('train alone', 'train', 4),
      ],
      { near: true, keep: 'longest' },
    );
    expect(rows.map(({ row }) => row)).toEqual([2, 3, 4]);
    expect(dropped.map(({ reason, detail }) => [reason, detail])).toEqual([
      ['near-duplicate', 'of a.jsonl:3, Jaccard 0.96'],
      ['duplicate', 'of a.jsonl:4'],
    ]);
    expect(report.facts.duplicates).toMatchObject({ acrossSplits: 2 });
  });

  test('the first row says whether there are parts; one that has a part behind it is refused', async () => {
    const [none, test] = [
      { row: { text: 'a' }, origin: { file: 'a.jsonl', row: 0 } },
      { row: { text: 'A' }, origin: { file: 'a.jsonl', row: 1 }, split: 'test' as const },
    ];
    await expect(dedupe([none, test])).rejects.toThrow(
      'dedupe: a.jsonl[1] is of "test", and the first row is of no part',
    );
    const train = { ...none, split: 'train' as const };
    for (const rows of [
      [train, none, test],
      [test, none],
    ])
      expect((await dedupe(rows)).rows).toEqual([{ text: 'A' }]);
  });

  test('what is mixed into split rows is of train, in whatever order it comes', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => ({ text: `row ${i}` }));
    const more = Array.from({ length: 200 }, (_, i) => ({ text: `ROW ${i}` }));
    const { splits, report } = await pipeline(rows)
      .split({ testSize: 5 })
      .mix([{ name: 'more', rows: more, weight: 10 }], { own: { weight: 1 }, order: 'spread' })
      .dedupe()
      .collect();
    expect(splits.test).toHaveLength(5);
    expect(splits.train).toHaveLength(195);
    expect(report.dropped).toEqual({ duplicate: 20 });
  });

  test('copies of rows of another set go', async () => {
    const { rows, dropped, report } = await pipeline(rowsOf(long, 'mine', 'THEIRS'))
      .dedupe({ near: true, against: rowsOf('theirs', changed) })
      .collect();
    expect(texts(rows)).toEqual(['mine']);
    expect(dropped.map(({ detail }) => detail)).toEqual([
      'of against[1], Jaccard 0.96',
      'of against[0]',
    ]);
    expect(report.stages[1]!.facts.duplicates).toMatchObject({ ofOtherSet: 2 });
  });

  test('the other set may be a file; what is no row in it is told of', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'attune-dedupe-'));
    const file = join(folder, 'eval.jsonl');
    await writeFile(file, '{"text":"theirs"}\n{"text":\n');
    const { rows, dropped, report } = await dedupe(rowsOf('mine', 'Theirs'), { against: file });
    await rm(folder, { recursive: true });
    expect(texts(rows)).toEqual(['mine']);
    expect(dropped[0]!.detail).toBe(`of ${file}:1`);
    expect(report.warnings).toEqual(['1 rows of the other set could not be read.']);
  });
});

test('the report has the sizes of clusters, and the largest ones', async () => {
  const { report } = await dedupe(rowsOf('a', 'b', 'A', 'a ', 'b', 'c'));
  expect(report.facts.clusters).toEqual({
    count: 2,
    sizes: { '2': 1, '3-4': 1 },
    largest: [
      { rows: 3, kept: 'rows[0]', dropped: ['rows[2]', 'rows[3]'], text: 'A' },
      { rows: 2, kept: 'rows[1]', dropped: ['rows[4]'], text: 'b' },
    ],
  });
});

test('options that are wrong are named', () => {
  expect(() => dedupe([], { nears: true } as never)).toThrow(/near/);
  expect(() => dedupe([], { near: { threshold: 1.2 } })).toThrow(/near\.threshold is 1\.2/);
  expect(() => dedupe([], { near: { treshold: 0.8 } as never })).toThrow(/treshold/);
  expect(() => dedupe([], { against: 7 as never })).toThrow(/against is 7; expected rows/);
});
