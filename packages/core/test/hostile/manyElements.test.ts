import { causalLmObjective, Trainer } from '@attune/core';
import { lengthGroupedOrder, packExamples } from '@attune/core/text';
import { PythonPattern } from '@attune/core/util';
import { expect, test } from 'vitest';
import { createEngine } from '../../src/tokenizer/engine/engine.js';
import { float32Attune, minuteLlama, temporaryFolder } from '../trainer/support.js';

/** More than a call takes as arguments: `Math.max(...values)` and `push(...values)` fail here. */
const MANY = 150_000;

test('rows are packed into as many pieces as they have', () => {
  const ids = new Int32Array(MANY).fill(3);
  expect(packExamples([{ inputIds: ids, labels: ids }], 1, 'wrapped')).toHaveLength(MANY);
});

test('a megabatch has as many rows as fifty updates', () => {
  const rows = Int32Array.from({ length: 4 * MANY }, (_, i) => i);
  expect(lengthGroupedOrder(rows, rows, MANY / 50)[0]).toBe(rows.length - 1);
});

test('bytes that are no text become a mark each', () => {
  const engine = createEngine('tokenizer.json', {
    model: { type: 'BPE', vocab: { '<0xFF>': 0 }, merges: [], byte_fallback: true },
    decoder: { type: 'ByteFallback' },
    added_tokens: [],
  });
  expect(engine.decode(new Array(MANY).fill(0), false)).toBe('\ufffd'.repeat(MANY));
});

test('a match is as long as the text', () => {
  const text = 'a'.repeat(MANY);
  expect(new PythonPattern('a*').match(text)?.text).toBe(text);
});

test('plans look at every row', async () => {
  await using attune = await float32Attune();
  const example = { inputIds: [3, 1, 4], labels: [3, 1, 4] };
  const many = Array.from({ length: MANY }, () => example);
  const trainer = new Trainer({
    model: await minuteLlama(attune),
    // Rows are examples as they are.
    objective: { ...causalLmObjective({ maxLength: 8 }), rows: {} },
    trainDataset: many,
    evalDataset: many,
    args: { outputDir: await temporaryFolder(), evalStrategy: 'epoch', maxMemory: '1 kB' },
  });
  await expect(trainer.train()).rejects.toThrow(/MEMORY_BUDGET/);
});
