import { createAttune } from '@attune/core';
import { type DataStage, defineDataStage } from '@attune/data';
import { dataStageKit } from '@attune/data/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinStages } from '../../src/stages/index.js';

const rows = Array.from({ length: 24 }, (_, n) => ({
  text: `Row ${n % 20} is about the number ${n % 20}, and about little else than that.`,
  group: n % 6,
  score: (n * 7) % 11,
}));

/** Options of built-in stages; null: it needs a model, and has tests of its own. */
const options: Readonly<Record<string, object | null>> = {
  backInstruct: null,
  backTranslate: null,
  curriculum: { by: 'score' },
  dedupe: {},
  evolInstruct: null,
  filter: { keep: ({ score }: { score?: unknown }) => Number(score) < 5 },
  keepTop: { by: 'score', ratio: 0.5 },
  map: { change: (row: object) => ({ ...row, more: 1 }) },
  mix: { sources: [{ name: 'other', rows: [{ text: 'a' }, { text: 'b' }], ratio: 0.1 }] },
  makePreferencePairs: null,
  quality: { checks: ['completeness'] },
  scoreComplexity: null,
  scoreIfd: null,
  scoreQuality: null,
  selectDiverse: null,
  selfInstruct: null,
  split: { groupBy: 'group', testSize: 0.2 },
  validate: {},
};

await using attune = await createAttune({ backend: 'reference' });

describe.each(builtinStages)('$name', (stage) => {
  test('is in the table', () => expect(Object.keys(options)).toContain(stage.name));
  const given = options[stage.name];
  if (given)
    for (const { name, run } of dataStageKit(stage, { rows, options: given, attune }))
      test(name, run);
});

const stage = (body: DataStage['run'], more: object = {}): DataStage =>
  defineDataStage({ name: 'mine', options: z.strictObject({}), run: body, ...more });

const broken: Readonly<Record<string, [DataStage, RegExp]>> = {
  'loses a row': [
    stage(async function* (given) {
      for await (const item of given) if (item.row.score !== 0) yield item;
    }),
    /neither among them nor dropped/,
  ],
  'writes into a row': [
    stage(async function* (given) {
      for await (const item of given) {
        Object.assign(item.row, { seen: true });
        yield item;
      }
    }),
    /row 0 was changed in place/,
  ],
  'draws as it likes': [
    stage(async function* (given) {
      for await (const item of given) yield { ...item, row: { ...item.row, x: Math.random() } };
    }),
    /a second run gives other rows/,
  ],
  'loses the origin': [
    stage(async function* (given) {
      for await (const { row } of given) yield { row } as never;
    }),
    /an object with row as a row; expected { row, origin }/,
  ],
  'fails without rows': [
    stage(async function* (given) {
      const held = [];
      for await (const item of given) held.push(item);
      yield held[0]!;
      held[0]!.row.text;
      yield* held.slice(1);
    }),
    /gave nothing \(undefined\) as a row/,
  ],
  'fails on an odd row': [
    stage(async function* (given) {
      for await (const item of given)
        yield { ...item, row: { ...item.row, length: (item.row.text as string).length } };
    }),
    /Cannot read properties of/,
  ],
  'does not close': [
    stage(async function* (given) {
      const rest = given[Symbol.asyncIterator]();
      for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
    }),
    /the rows before it were left open/,
  ],
  'takes any option': [
    stage(
      async function* (given) {
        yield* given;
      },
      { options: z.looseObject({}) },
    ),
    /it takes an option that it does not know/,
  ],
};

test.each(Object.entries(broken))(
  'the kit sees a stage that %s',
  async (_name, [mine, message]) => {
    const failed: string[] = [];
    for (const { run } of dataStageKit(mine, { rows: structuredClone(rows) }))
      await run().catch((error: Error) => failed.push(error.message));
    expect(failed.join('\n')).toMatch(message);
  },
);
