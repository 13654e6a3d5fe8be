import { dedupe, defineDataStage, filter, map, mix, pipeline } from '@attune/data';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { stageFunction } from '../src/pipeline/stageFunction.js';

const rows = Array.from({ length: 6 }, (_, n) => ({ n }));
const even = { keep: ({ n }: { readonly n?: unknown }) => Number(n) % 2 === 0, reason: 'odd' };

test('a stage is iterated row by row, or awaited whole with what was left out', async () => {
  const streamed: unknown[] = [];
  for await (const row of filter(rows, even)) streamed.push(row);
  expect(streamed).toEqual([{ n: 0 }, { n: 2 }, { n: 4 }]);
  const { rows: kept, dropped, report } = await filter(rows, even);
  expect(kept).toEqual(streamed);
  expect(dropped.map(({ row, reason }) => [row.origin, reason])).toEqual(
    [1, 3, 5].map((n) => [{ file: 'rows', row: n }, 'odd']),
  );
  expect(report).toMatchObject({ rowsIn: 6, rowsOut: 3, dropped: { odd: 3 } });
});

test('rows keep the origin that they have; what is no row is put aside', async () => {
  const input = [
    { row: { n: 1 }, origin: { file: 'a.jsonl', row: 7, line: 9 } },
    { problem: 'not JSON', origin: { file: 'a.jsonl', row: 8, line: 10 } },
    7 as never,
    { n: 2, origin: 'a column of that name' },
  ];
  const { rows: out, quarantined } = await map(input, { change: (row) => row });
  expect(out).toEqual([{ n: 1 }, { n: 2, origin: 'a column of that name' }]);
  expect(quarantined.map(({ row, detail }) => [row.origin.file, detail])).toEqual([
    ['a.jsonl', 'not JSON'],
    ['rows', 'a row is an object with named fields; this is 7.'],
  ]);
});

test('a function stands for the options of filter and map, here and in a pipeline', async () => {
  const isEven = ({ n }: { readonly n?: unknown }) => Number(n) % 2 === 0;
  const { rows: kept, dropped } = await filter(rows, isEven);
  expect(kept).toEqual([{ n: 0 }, { n: 2 }, { n: 4 }]);
  expect(dropped.map(({ reason }) => reason)).toEqual(['filtered', 'filtered', 'filtered']);
  const { rows: changed } = await map(kept, ({ n }) => ({ n: -Number(n) }));
  expect(changed).toEqual([{ n: -0 }, { n: -2 }, { n: -4 }]);
  const piped = await pipeline(rows)
    .filter(isEven)
    .map(({ n }) => ({ n: -Number(n) }))
    .collect();
  expect(piped.rows).toEqual(changed);
});

test('facts of a report have types', async () => {
  const { report } = await dedupe([
    ...rows.map(({ n }) => ({ text: `row ${n}` })),
    { text: 'Row 1' },
  ]);
  const copies: number = report.facts.duplicates.exact;
  expect(copies).toBe(1);
  expect(report.facts.clusters.largest[0]!.kept).toBe('rows[1]');
  const mixed = await mix([
    { name: 'a', rows },
    { name: 'b', rows },
  ]);
  expect(mixed.report.facts.sources.map(({ name, share }) => [name, share])).toEqual([
    ['a', 0.5],
    ['b', 0.5],
  ]);
});

test('options are checked when the function is called; an error of a stage arrives', async () => {
  expect(() => filter(rows, { keeps: () => true } as never)).toThrow(/keep/);
  const broken = defineDataStage({
    name: 'broken',
    options: z.strictObject({}),
    // biome-ignore lint/correctness/useYield: it fails.
    async *run() {
      throw new Error('no');
    },
  });
  await expect(stageFunction(broken)(rows)).rejects.toThrow('no');
  const silent = defineDataStage({
    name: 'silent',
    options: z.strictObject({}),
    async *run(given) {
      for await (const item of given) if (item.row.n !== 3) yield item;
    },
  });
  await expect(stageFunction(silent)(rows)).rejects.toThrow(/"silent" was given 6 rows and gave 5/);
});
