import { createAttune, definePlugin } from '@attune/core';
import { data, defineDataStage, pipeline } from '@attune/data';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { DataStages } from '../../src/contract/dataStage.js';

const rows = Array.from({ length: 6 }, (_, n) => ({ n }));
const even = { keep: ({ n }: { readonly n?: unknown }) => Number(n) % 2 === 0, reason: 'odd' };

test('stages follow each other, lazily, and every row is in the report', async () => {
  let read = 0;
  function* counted() {
    for (const row of rows) {
      read++;
      yield row;
    }
  }
  const built = pipeline(counted())
    .filter(even)
    .map({ change: ({ n }) => ({ n, twice: 2 * Number(n) }) });
  expect(read).toBe(0);
  const { rows: out, splits, dropped, report } = await built.collect();
  expect(out).toEqual([0, 2, 4].map((n) => ({ n, twice: 2 * n })));
  expect(splits).toEqual({ train: out, validation: [], test: [] });
  expect(dropped.map(({ row }) => row.origin.row)).toEqual([1, 3, 5]);
  expect(report).toMatchObject({
    rowsIn: 6,
    rowsOut: 3,
    quarantined: 0,
    dropped: { odd: 3 },
    added: {},
    groupsShared: null,
  });
});

test('each method gives a new pipeline: the one before is as it was', async () => {
  const base = pipeline(rows).filter(even);
  const more = base.filter({ keep: ({ n }) => n !== 2 });
  expect((await base.collect()).rows).toHaveLength(3);
  expect((await more.collect()).rows).toHaveLength(2);
  const seen: unknown[] = [];
  for await (const item of base.rows()) {
    seen.push(item);
    if (seen.length === 2) break;
  }
  expect(seen[1]).toEqual({ row: { n: 2 }, origin: { file: 'rows', row: 2 } });
});

test('a stage is found by its name, a plugin’s through attune', async () => {
  const mine = defineDataStage({
    name: 'mine',
    options: z.strictObject({ by: z.int().default(1) }),
    async *run(given, { by }) {
      for await (const item of given) yield { ...item, row: { n: Number(item.row.n) + by } };
    },
  });
  const plugin = definePlugin({
    name: 'acme',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(DataStages, mine),
  });
  await using attune = await createAttune({ plugins: [data(), plugin], backend: 'reference' });
  const { rows: out } = await pipeline(rows, { attune }).stage('mine', { by: 10 }).collect();
  expect(out[0]).toEqual({ n: 10 });
  expect(() => pipeline(rows).stage('fliter', even)).toThrow(
    /there is no stage "fliter"\. Did you mean "filter"\?/,
  );
  expect(() => pipeline(rows).filter({ keeps: 1 } as never)).toThrow(/there is no option "keeps"/);
});
