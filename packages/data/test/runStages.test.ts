import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Row } from '@attune/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { DataRow, ReadRow } from '../src/contract/dataRow.js';
import { type DataStage, defineDataStage } from '../src/contract/dataStage.js';
import { holdRows } from '../src/pipeline/heldRows.js';
import { rowToJson } from '../src/pipeline/rowLines.js';
import { runStages } from '../src/pipeline/runStages.js';
import type { LostRow } from '../src/pipeline/stageTally.js';

let workFolder: string;
beforeEach(async () => {
  workFolder = await mkdtemp(join(tmpdir(), 'attune-data-'));
});
afterEach(() => rm(workFolder, { recursive: true }));

async function* source(reads: readonly (Row | string)[]): AsyncGenerator<ReadRow> {
  for (const [row, read] of reads.entries()) {
    const origin = { file: 'a.jsonl', row, line: row + 1 };
    yield typeof read === 'string' ? { problem: read, origin } : { row: read, origin };
  }
}

async function run(stages: readonly DataStage[], reads: readonly (Row | string)[]) {
  const lost: LostRow[] = [];
  const running = runStages(
    source(reads),
    stages.map((stage) => ({ stage, options: {} })),
    {
      workFolder,
      seed: 0,
      cacheOf: () => ({ get: async () => undefined, set: async () => {} }),
      onLost: (row) => lost.push(row),
    },
  );
  const rows: DataRow[] = [];
  for await (const row of running.rows) rows.push(row);
  return { rows, lost, reports: running.reports() };
}

const stage = (name: string, body: DataStage['run']): DataStage =>
  defineDataStage({ name, options: z.strictObject({}), run: body });

const even = stage('even', async function* (rows, _options, context) {
  for await (const item of rows)
    if ((item.row.n as number) % 2 === 0) yield item;
    else context.drop(item, 'odd', `${item.row.n}`);
});
const twice = stage('twice', async function* (rows, _options, context) {
  await using held = await context.hold(rows);
  for await (const item of held) yield item;
  for await (const item of held) {
    context.added(item, 'copy');
    yield item;
  }
});

describe('stages in a row', () => {
  test('every row is given, dropped, quarantined or added, and counted', async () => {
    const { rows, lost, reports } = await run(
      [even, twice, even],
      [{ n: 0 }, 'not JSON', { n: 1 }, { n: 2 }],
    );
    expect(rows.map(({ row, origin }) => [row.n, origin.line])).toEqual([
      [0, 1],
      [2, 4],
      [0, 1],
      [2, 4],
    ]);
    expect(reports.map(({ name, rowsIn, rowsOut }) => [name, rowsIn, rowsOut])).toEqual([
      ['read', 4, 3],
      ['even', 3, 2],
      ['twice', 2, 4],
      ['even-2', 4, 4],
    ]);
    expect(reports[0]!.quarantined).toEqual({ unreadable: 1 });
    expect(reports[1]!.dropped).toEqual({ odd: 1 });
    expect(reports[2]!.added).toEqual({ copy: 2 });
    expect(lost.map(({ stage, reason, detail }) => [stage, reason, detail])).toEqual([
      ['read', 'unreadable', 'not JSON'],
      ['even', 'odd', '1'],
    ]);
    // What was held is gone.
    expect(await readdir(workFolder)).toEqual([]);
  });

  test('a stage that loses rows, or makes some without a word, is an error', async () => {
    const loses = stage('loses', async function* (rows) {
      for await (const item of rows) if (item.row.n !== 1) yield item;
    });
    await expect(run([loses], [{ n: 0 }, { n: 1 }])).rejects.toThrow(
      'the stage "loses" was given 2 rows and gave 1; 1 are neither among them nor dropped nor quarantined',
    );
    const makes = stage('makes', async function* (rows) {
      for await (const item of rows) {
        yield item;
        yield item;
      }
    });
    await expect(run([makes], [{ n: 0 }])).rejects.toThrow(
      'given 1 rows and gave 2, and dropped or quarantined 0: 1 too many',
    );
  });

  test('rows are asked for one by one: nothing is read ahead', async () => {
    let read = 0;
    async function* slow(): AsyncGenerator<ReadRow> {
      for (;;) yield { row: { n: 2 * read }, origin: { file: 'x', row: read++ } };
    }
    const running = runStages(slow(), [{ stage: even, options: {} }], {
      workFolder,
      seed: 0,
      cacheOf: () => ({ get: async () => undefined, set: async () => {} }),
    });
    for await (const _ of running.rows) if (read === 3) break;
    expect(read).toBe(3);
  });
});

describe('held rows', () => {
  const big = {
    id: 2n ** 60n,
    text: 'ä\u2028\ud83d\ude00',
    list: [1, { deep: -(2n ** 54n) }],
    nothing: null,
  };

  test('come back as they were, in any order, two readers at once', async () => {
    const rows: ReadRow[] = [];
    for await (const read of source([big, { n: 1 }, {}])) rows.push(read);
    async function* given() {
      for (const row of rows as DataRow[]) yield row;
      yield { row: { n: 3 }, origin: { file: 'b', row: 0 }, split: 'test' as const };
    }
    await using held = await holdRows(given(), workFolder);
    expect(held.length).toBe(4);
    expect(await held.at(3)).toEqual({
      row: { n: 3 },
      origin: { file: 'b', row: 0 },
      split: 'test',
    });
    expect(await Promise.all([2, 0, 1].map((i) => held.at(i)))).toEqual([
      rows[2],
      rows[0],
      rows[1],
    ]);
  });

  test('large integers are written as integers', () => {
    expect(rowToJson(big)).toBe(
      '{"id":1152921504606846976,"text":"ä\u2028😀","list":[1,{"deep":-18014398509481984}],"nothing":null}',
    );
  });
});

test('seconds of a stage are those of its own work, whether it streams or waits for all', async () => {
  const work = (ms: number) => {
    const until = performance.now() + ms;
    while (performance.now() < until);
  };
  const streaming = (name: string, ms: number) =>
    defineDataStage({
      name,
      options: z.strictObject({}),
      async *run(rows) {
        for await (const row of rows) {
          work(ms);
          yield row;
        }
      },
    });
  const waiting = defineDataStage({
    name: 'waiting',
    options: z.strictObject({}),
    async *run(rows, _options, context) {
      await using held = await context.hold(rows);
      work(40);
      yield* held;
    },
  });
  const reads = Array.from({ length: 20 }, (_, i) => ({ text: `${i}` }));
  const { reports } = await run([streaming('slow', 5), waiting, streaming('quick', 0)], reads);
  const seconds = Object.fromEntries(reports.map((report) => [report.name, report.seconds]));
  expect(seconds.slow).toBeGreaterThanOrEqual(0.1);
  expect(seconds.waiting).toBeGreaterThanOrEqual(0.04);
  // Those before it took 140 ms.
  expect(seconds.quick).toBeLessThan(0.1);
  expect(seconds.read).toBeLessThan(0.1);
});
