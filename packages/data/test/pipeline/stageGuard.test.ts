import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  type DataRow,
  type DataStageDefinition,
  defineDataStage,
  map,
  pipeline,
} from '../../src/index.js';

type Run = DataStageDefinition<z.ZodObject>['run'];

/** Three rows through a stage that is written badly. */
const through = (run: unknown, isCostly = false) =>
  pipeline([{ text: 'a' }, { text: 'b' }, { text: 'c' }])
    .stage(defineDataStage({ name: 'odd', options: z.strictObject({}), isCostly, run: run as Run }))
    .collect();

/** A stage that makes something else of each row. */
const each = (change: (item: DataRow) => unknown) =>
  async function* (rows: AsyncIterable<DataRow>) {
    for await (const item of rows) yield change(item);
  };

describe('a stage that is written badly is named', () => {
  test.each<[string, unknown, RegExp]>([
    ['reads nothing', async function* () {}, /"odd" ended before it had read all rows/],
    [
      'stops early',
      async function* (rows: AsyncIterable<DataRow>) {
        for await (const item of rows) {
          yield item;
          return;
        }
      },
      /ended before it had read all rows; it was given 1/,
    ],
    ['forgets the star', () => undefined, /"odd" gave nothing \(undefined\); expected an async/],
    ['gives an array', () => [], /"odd" gave an array of 0; expected an async iterable/],
    ['yields the row alone', each(({ row }) => row), /as a row; expected \{ row, origin \}/],
    ['yields no object', each((item) => ({ ...item, row: 7 })), /number 7 as the row of rows\[0\]/],
    ['makes up a split', each((item) => ({ ...item, split: 'dev' })), /rows\[0\] the split "dev"/],
    [
      'puts a Date into a row',
      each((item) => ({ ...item, row: { meta: { at: [new Date(0)] } } })),
      /rows\[0\], has at "meta.at\[0\]" a Date/,
    ],
    [
      'puts a function into a row',
      each((item) => ({ ...item, row: { run: () => 1 } })),
      /has at "run" a function run/,
    ],
    [
      'puts a row into itself',
      each((item) => {
        const row: Record<string, unknown> = {};
        row.self = [row];
        return { ...item, row };
      }),
      /more than 256 levels, or a row within itself/,
    ],
  ])('that %s', async (_what, run, message) => {
    await expect(through(run)).rejects.toThrow(message);
  });

  test('that gives no reason, or a fact that no report holds', async () => {
    const silent: Run = async function* (rows, _options, context) {
      for await (const item of rows)
        if (item.origin.row > 3) yield item;
        else context.drop(item, '');
    };
    await expect(through(silent)).rejects.toThrow(/dropped a row for text ""; expected a reason/);
    const fact: Run = async function* (rows, _options, context) {
      yield* rows;
      context.fact('sizes', { all: new Map() } as never);
    };
    await expect(through(fact)).rejects.toThrow(/fact of the stage "odd" has at "sizes.all" a Map/);
  });

  test('that drops a row and yields it, or yields it twice', async () => {
    const both: Run = async function* (rows, _options, context) {
      for await (const item of rows) {
        context.drop(item, 'why');
        yield item;
      }
    };
    await expect(through(both)).rejects.toThrow(/gave 3, and dropped or quarantined 3: 3 too many/);
    const twice: Run = async function* (rows) {
      for await (const item of rows) {
        yield item;
        yield item;
      }
    };
    await expect(through(twice)).rejects.toThrow(
      /gave 6, and dropped or quarantined 0: 3 too many/,
    );
  });

  test('a stage that stops early where there is nothing left is right', async () => {
    const asked: Run = async function* (rows) {
      const iterator = rows[Symbol.asyncIterator]();
      for (let i = 0; i < 3; i++) yield (await iterator.next()).value as DataRow;
    };
    await expect(through(asked)).resolves.toMatchObject({ report: { rowsOut: 3 } });
    const none: Run = async function* () {};
    const stage = defineDataStage({ name: 'none', options: z.strictObject({}), run: none });
    await expect(pipeline([]).stage(stage).collect()).resolves.toMatchObject({ rows: [] });
  });
});

test('rows that a caller gives hold values of JSON', async () => {
  await expect(map([{ at: new Date(0) }], { change: (row) => row })).rejects.toThrow(
    /a row that was given, rows\[0\], has at "at" a Date.*toISOString/s,
  );
  await expect(map([{ a: 1 }], { change: () => undefined as never })).rejects.toThrow(
    /"map" gave nothing \(undefined\) as the row of rows\[0\]/,
  );
  const { rows } = await map([{ big: 2n ** 60n, none: undefined, nan: Number.NaN }], {
    change: (row) => row,
  });
  expect(rows).toHaveLength(1);
});
