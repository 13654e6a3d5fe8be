import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  type LanguageModel,
  silentLogger,
} from '@attune/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scoreComplexity, scoreQuality } from '../../src/index.js';
import { expectedLevel } from '../../src/models/nextLevels.js';
import { bytes, CountingCache, tinyConfig } from './support.js';

let attune: Attune;
let model: LanguageModel;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', logger: silentLogger });
  model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
});
afterAll(() => attune.dispose());

const rows = ['add', 'multiply these numbers', 'hi'].map((instruction, id) => ({
  id,
  instruction,
  input: id === 1 ? '2 and 3' : '',
  output: 'x'.repeat(5 * id + 1),
}));

test('a prompt without a place for the row would give every row the same', () => {
  expect(() => scoreQuality([], { model, tokenizer: bytes, prompt: 'Rate it: ' })).toThrow(
    'expected a text with {instruction} or {output} in it',
  );
});

test('a level is the expected value over the digits behind the prompt', async () => {
  const prompt = 'Q {instruction} A {output}:';
  const { rows: scored, report } = await scoreQuality(rows, { model, tokenizer: bytes, prompt });
  for (const [i, row] of scored.entries()) {
    const { instruction, input, output } = rows[i]!;
    const asked = input ? `${instruction}\n${input}` : instruction;
    const ids = bytes.encode(`Q ${asked} A ${output}:`);
    const { engine } = model;
    const logits = await engine
      .scope('alone', () =>
        model.forward({ inputIds: engine.tensor(ids, [1, ids.length], 'int32') }),
      )
      .data();
    const vocab = model.config.vocabSize;
    const digits = [1, 2, 3, 4, 5, 6].map((d) => logits[(ids.length - 1) * vocab + 0x30 + d + 3]!);
    const weights = digits.map((z) => Math.exp(z));
    const expected =
      weights.reduce((sum, w, d) => sum + w * (d + 1), 0) / weights.reduce((sum, w) => sum + w, 0);
    expect(row.quality).toBeCloseTo(expected, 5);
  }
  expect(report.facts.quality).toMatchObject({ prompt, scored: 3 });
});

test('without an answer the instruction alone has a complexity, and it is kept', async () => {
  const cache = new CountingCache();
  const options = { model, tokenizer: bytes, prompt: '{instruction}?' };
  const first = await scoreComplexity([...rows, { prompt: 'alone' }], options, { cache });
  expect(first.rows.map(({ complexity }) => typeof complexity)).toEqual(Array(4).fill('number'));
  const second = await scoreComplexity([...rows, { prompt: 'alone' }], options, { cache });
  expect(cache.hits).toBe(4);
  expect(second.rows).toEqual(first.rows);
});

test('rows that cannot be asked about are dropped', async () => {
  const given = [
    { text: 'x' },
    { prompt: 'no answer' },
    { prompt: 'x'.repeat(500), completion: 'y' },
  ];
  const { report } = await scoreQuality(given, { model, tokenizer: bytes });
  expect(report.dropped).toEqual({ 'no instruction': 1, 'no answer': 1, 'prompt too long': 1 });
  const same = { ...bytes, encode: (text: string) => [...text].map(() => 7) };
  await expect(scoreQuality(rows, { model, tokenizer: same })).rejects.toThrow(
    'the last tokens 7, 7, 7, 7, 7, 7 for the digits 1 to 6',
  );
});

test('large logits have a level', () => {
  expect(expectedLevel([0, 0, 0, 0, 0, 0])).toBe(3.5);
  expect(expectedLevel([1000, 0, 0, 0, 0, -1000])).toBe(1);
  expect(expectedLevel([-1e9, -1e9, -1e9, -1e9, -1e9, 0])).toBe(6);
});
