import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { scoreComplexity, scoreQuality, selectDiverse } from '@attune/data';
import { expect, test } from 'vitest';
import {
  BLOCKED_STARTS,
  BLOCKED_WORDS,
  instructionFault,
} from '../../src/augment/instructionFilter.js';
import { expectedLevel } from '../../src/models/nextLevels.js';
import { bytes, fixtureJson, tinyConfig } from './support.js';

interface Judged {
  readonly text: string;
  readonly kept: boolean;
}
const authors = fixtureJson<{
  readonly instructions: readonly Judged[];
  readonly others: readonly Judged[];
  readonly prompts: { readonly complexity: string; readonly quality: string };
  readonly levels: readonly { readonly logits: number[]; readonly level: number }[];
  readonly selection: {
    readonly rows: readonly {
      readonly id: number;
      readonly complexity: number[];
      readonly quality: number[];
      readonly embedding: number[];
    }[];
    readonly chosen: readonly number[];
    readonly everyOne: readonly number[];
  };
}>('authors.json');

const rules = {
  minWords: 4,
  maxWords: 150,
  blockedWords: BLOCKED_WORDS,
  blockedStarts: BLOCKED_STARTS,
};

test("Self-Instruct's filters keep what the authors' code keeps", () => {
  expect(authors.instructions.filter(({ kept }) => kept).length).toBeGreaterThan(15);
  const ours = authors.instructions.map(({ text }) => ({
    text,
    kept: instructionFault(text.trim(), rules) === null,
  }));
  expect(ours).toEqual(authors.instructions);
});

test('and other languages, which the authors leave out', () => {
  for (const { text, kept } of authors.others) {
    expect(kept).toBe(false);
    expect(instructionFault(text, rules)).toBeNull();
  }
});

test("a level is that of DEITA's scorer", () => {
  for (const { logits, level } of authors.levels)
    expect(expectedLevel(logits)).toBeCloseTo(level, 12);
});

test("the prompts are DEITA's", async () => {
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
  const rows = [{ prompt: 'a', completion: 'b' }];
  const options = { model, tokenizer: bytes };
  const { report: complexity } = await scoreComplexity(rows, options);
  const { report: quality } = await scoreQuality(rows, options);
  expect(complexity.facts.complexity).toMatchObject({ prompt: authors.prompts.complexity });
  expect(quality.facts.quality).toMatchObject({ prompt: authors.prompts.quality });
});

test("conversations are chosen as by DEITA's filter", async () => {
  const { rows, chosen, everyOne } = authors.selection;
  const embedder = {
    name: 'given',
    fingerprint: () => 'given',
    embed: async (texts: readonly string[]) =>
      texts.map((text) => Float32Array.from(rows[Number(text)]!.embedding)),
  };
  const select = async (count: number) => {
    const { rows: found } = await selectDiverse(rows, {
      by: ['complexity', 'quality'],
      method: 'repr-filter',
      count,
      embedder,
      text: ({ id }) => String(id),
    });
    return found.map(({ id }) => id);
  };
  const inOrder = (ids: readonly number[]) => [...ids].sort((a, b) => a - b);
  expect(await select(12)).toEqual(inOrder(chosen));
  expect(everyOne.length).toBeLessThan(rows.length);
  expect(await select(rows.length)).toEqual(inOrder(everyOne));
});

test('each question of a conversation has its level, alone', async () => {
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
  const options = { model, tokenizer: bytes, prompt: '{instruction}|{output}:' };
  const turn = (role: string, content: string) => ({ role, content });
  const messages = [
    turn('system', 's'),
    turn('user', 'one'),
    turn('assistant', '1'),
    turn('user', 'two?'),
    turn('assistant', '22'),
    turn('user', 'three'),
  ];
  const each = { ...options, turns: 'each' as const };
  const { rows } = await scoreQuality([{ messages }, { prompt: 'one', completion: '1' }], each);
  const single = await scoreQuality(
    [
      { prompt: 'one', completion: '1' },
      { prompt: 'two?', completion: '22' },
    ],
    options,
  );
  const [one, two] = single.rows.map(({ quality }) => quality as number);
  expect(rows[0]!.quality).toEqual([
    expect.closeTo(one!, 5),
    expect.closeTo(two!, 5),
    expect.any(Number),
  ]);
  expect(rows[1]!.quality).toEqual([expect.closeTo(one!, 5)]);
  const both = await scoreComplexity(rows, each);
  expect(both.rows[0]!.complexity).toHaveLength(3);
});

test('lists of another length are no score', async () => {
  const rows = [
    { id: 0, a: [1, 2], b: [3, 4] },
    { id: 1, a: [1, 2], b: [3] },
    { id: 2, a: [], b: [] },
    { id: 3, a: [1, null], b: [1, 2] },
    { id: 4, a: 2, b: 30 },
  ].map((row) => ({ ...row, prompt: `${row.id}` }));
  const { rows: kept, dropped } = await selectDiverse(rows, { by: ['a', 'b'], count: 1 });
  expect(kept.map(({ id }) => id)).toEqual([4]);
  expect(dropped.filter(({ reason }) => reason === 'no score').map(({ detail }) => detail)).toEqual(
    ['1 numbers in "b", 2 in "a"', 'no number in "a"', 'no number in "a"'],
  );
});
