import { join } from 'node:path';
import {
  collatePairs,
  type PairExample,
  type PairRowOptions,
  pairRows,
  promptRows,
  type UnpairedExample,
  unpairedRows,
} from '@attune/align';
import { AutoModelForCausalLM, createAttune, Dataset, silentLogger, Trainer } from '@attune/core';
import type { Preflight, TextTokenizer } from '@attune/core/text';
import type { Objective, RowRules } from '@attune/core/training';
import { describe, expect, onTestFinished, test } from 'vitest';
import { embeddingOf, fixtures, letters } from './rows.support.js';

/** A preflight that has seen rows. */
function seen<Example>(
  rules: RowRules<Example>,
  rows: readonly object[],
  tokenizer: TextTokenizer | null = letters,
): Preflight {
  const model = embeddingOf(0x120000);
  const preflight = rules.preflight!(model, tokenizer, 'training', 'training rows');
  rows.forEach((row, i) => {
    rules.encode!(row, { model, tokenizer, origin: `rows[${i}]`, preflight });
  });
  return preflight;
}
const pairs = (rows: readonly object[], options: Partial<PairRowOptions> = {}) =>
  seen<PairExample>(pairRows({ maxLength: 12, ...options }), rows).report();
const labelled = (rows: readonly object[]) =>
  seen<UnpairedExample>(unpairedRows({ maxLength: 12 }), rows).report();

describe('what is shown', () => {
  test('both texts of a pair, what of them is scored, and counts', () => {
    const report = pairs(
      [
        { prompt: 'Say: ', chosen: 'yes', rejected: 'no', source: 'x' },
        { prompt: 'a', chosen: 'b', rejected: 'b' },
        { prompt: 'much too long', chosen: 'b', rejected: 'c' },
        { prompt: 'Say: ', chosen: 'yes, yes, yes', rejected: '' },
      ],
      { preflight: { rows: 1 } },
    );
    expect(report.format({ color: false })).toMatchInlineSnapshot(`
      "4 training rows
        scored         18 of 46 tokens (39.1 %)
        stop token     $ is scored in 5 of 6 texts (83.3 %)
        BOS            ^ begins 6 of 6 texts, doubled in none
        length         4 to 12 tokens; 1 of 6 texts cut off after 12
        left out       1 row with nothing to learn from, 1 after being cut off at 12 tokens
        of these       1 row: chosen and rejected are equal (first: rows[1])
        of these       1 row: an answer is empty but for its end token (first: rows[3])
        not used       the columns source (1 row)
        rows[0] chosen: 10 tokens, 4 scored
          | ^Say: ⟦yes$⟧
        rows[0] rejected: 9 tokens, 3 scored
          | ^Say: ⟦no$⟧
        warning: 1 of 6 answers do not teach when to stop (first: rows[3] chosen).
          Fix: 1 were cut off after 12 tokens: raise maxLength, or leave long rows out."
    `);
    expect(report.refusal()).toBeNull();
    expect(report.toJSON()).toMatchObject({
      rows: 4,
      texts: 6,
      leftOut: 1,
      truncated: 1,
      conditions: { 'equal-pairs': 1, 'empty-answers': 1 },
    });
  });

  test('a row whose prompt merges with its answer, wherever it is, with both splits', () => {
    const plain = { prompt: 'a', chosen: 'b', rejected: 'c' };
    const report = pairs([plain, plain, { prompt: 'ab~', chosen: 'cd', rejected: 'e' }], {
      preflight: { rows: 1 },
    });
    expect(report.samples.map(({ origin, boundary }) => [origin, boundary])).toEqual([
      ['rows[0] chosen', undefined],
      ['rows[0] rejected', undefined],
      ['rows[2] chosen', { alone: '"~" (126)', within: '"~c" (1114211)' }],
      ['rows[2] rejected', { alone: '"~" (126)', within: '"~e" (1114213)' }],
    ]);
    expect(report.format({ color: false })).toContain(
      'the prompt alone ends with "~" (126); before its answer stands "~c" (1114211), which is scored',
    );
  });

  test('with colours', () => {
    const text = pairs([{ prompt: 'a', chosen: 'b', rejected: 'c' }]).format({ color: true });
    expect(text).toContain('\u001b[2m^a\u001b[0m\u001b[32mb$\u001b[0m');
  });

  test('how many answers are wanted', () => {
    const report = labelled(
      [true, false, true].map((label) => ({ prompt: 'a', completion: 'b', label })),
    );
    const text = report.format({ color: false });
    expect(text).toContain('2 rows: wanted (first: rows[0])');
    expect(text).toContain('1 row: unwanted (first: rows[1])');
    expect(report.problems).toEqual([]);
  });
});

test('prompts alone: their texts and lengths, and which have no room for an answer', () => {
  const rules = promptRows({ maxLength: 6 });
  const report = seen(rules, [{ prompt: 'Say: ' }, { prompt: 'Say it: ' }]).report();
  expect(report.format({ color: false })).toMatchInlineSnapshot(`
    "2 training rows
      BOS            ^ begins 1 of 1 row, doubled in none
      length         6 to 6 tokens
      left out       1 row of more than 6 tokens, or of none
      rows[0]: 6 tokens
        | ^Say:"
  `);
  expect(report.problems).toEqual([]);
  const refusal = seen(rules, [{ prompt: 'Say it: ' }])
    .report()
    .refusal();
  expect(refusal?.code).toBe('NO_ROWS');
  expect(refusal?.remedy).toContain('leaves no room for an answer');
});

describe('what is refused', () => {
  const equal = { prompt: 'a', chosen: 'b', rejected: 'b' };
  const empty = { prompt: 'a', chosen: '', rejected: 'b' };

  test.each<[title: string, rows: readonly object[], code: string, message: RegExp]>([
    [
      'all pairs equal',
      [equal, { ...equal, prompt: 'c' }],
      'EQUAL_PAIRS',
      /chosen and rejected are equal in every row/,
    ],
    [
      'an empty answer in every row',
      [empty, empty],
      'EMPTY_ANSWERS',
      /every row has an answer that is empty/,
    ],
    [
      'every answer cut off',
      [{ prompt: 'a', chosen: 'b'.repeat(20), rejected: 'c'.repeat(20) }],
      'NO_STOP_TOKEN',
      /no row teaches when to stop/,
    ],
    [
      'every prompt fills maxLength',
      [{ prompt: 'a'.repeat(20), chosen: 'b', rejected: 'c' }],
      'NO_ROWS',
      /none of the 1 training rows has anything to learn from/,
    ],
    [
      'two BOS tokens',
      [{ prompt: '\u0001a', chosen: 'b', rejected: 'c' }],
      'DOUBLED_BOS',
      /begin with two BOS tokens/,
    ],
  ])('%s', (_, rows, code, message) => {
    const refusal = pairs(rows).refusal();
    expect(refusal?.code).toBe(code);
    expect(refusal?.description).toMatch(message);
  });

  test('not where it is allowed, nor for some of the rows', () => {
    expect(pairs([equal], { preflight: { allow: ['equal-pairs'] } }).refusal()).toBeNull();
    expect(pairs([equal, empty]).refusal()).toBeNull();
  });

  test('texts for a reward model need no end', () => {
    const row = { prompt_ids: [2], chosen_ids: [3], rejected_ids: [4] };
    const rules = pairRows({ maxLength: 4, scored: 'texts' });
    expect(seen(rules, [row], null).report().problems).toEqual([]);
    expect(seen(rules, [{ prompt: 'a', chosen: 'b', rejected: 'c' }]).report().problems).toEqual(
      [],
    );
  });

  test('one class alone is said', () => {
    const report = labelled([{ prompt: 'a', completion: 'b', label: true }]);
    expect(report.refusal()).toBeNull();
    expect(report.problems).toMatchObject([
      { check: 'wanted', refused: false, message: expect.stringContaining('every label is true') },
    ]);
  });
});

test('a trainer shows pairs and refuses them before its first step', async () => {
  const attune = await createAttune({ logger: silentLogger, backend: 'reference' });
  onTestFinished(() => attune.dispose());
  const model = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama'), { attune });
  const objective: Objective<PairExample> = {
    name: 'pairs',
    rows: pairRows({ maxLength: 12 }),
    collate: (examples) => collatePairs(examples, 12),
    countItems: ({ inputIds }) => inputIds!.shape[0]! / 2,
    loss: () => {
      throw new Error('no step is made');
    },
  };
  const trainer = new Trainer({
    model,
    tokenizer: letters as never,
    objective,
    trainDataset: Dataset.from([{ prompt: 'a', chosen: 'b', rejected: 'b' }]),
    args: { outputDir: join(fixtures, 'nowhere'), maxSteps: 1, saveStrategy: 'no' },
  } as never);
  const report = await trainer.preview();
  expect(report.samples.map(({ origin }) => origin)).toEqual([
    'rows[0] chosen',
    'rows[0] rejected',
  ]);
  await expect(trainer.train()).rejects.toMatchObject({ code: 'EQUAL_PAIRS' });
});
