import { type Attune, estimateMemory } from '@attune/core';
import type { RawConfig } from '@attune/core/io';
import { peft } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { filledModel } from '../../bench/src/models/filledModel.js';
import { type LoraCase, loraCases } from '../../bench/src/models/loraCases.js';
import { tiny } from '../../bench/src/models/shapes.js';
import { loraConfig, trainingSteps } from '../../bench/src/models/training.js';
import { onDawn } from './support.js';

// The models of the benchmark lora-1b, which take a GPU, at a small size: what it runs there is run
// here.

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune[Symbol.asyncDispose]());

const storageOf = ({ loraRank, quantization }: LoraCase) => ({
  dtype: loraRank > 0 ? ('bfloat16' as const) : ('float32' as const),
  ...(quantization && { quantization }),
});

/** The sizes of the tiny one, whose sides differ: one layer's weights do not fit another. */
const small = (config: RawConfig): RawConfig =>
  config.model_type === 'gpt2'
    ? { ...config, vocab_size: 512, n_embd: 64, n_layer: 2, n_head: 2 }
    : { ...tiny, ...pick(config, ['model_type', 'rope_scaling', 'tie_word_embeddings']) };

const pick = (config: RawConfig, keys: readonly string[]): Partial<RawConfig> =>
  Object.fromEntries(keys.flatMap((key) => (key in config ? [[key, config[key]]] : [])));

describe.each(loraCases.map((each) => [each.name, each] as const))('%s', (_, each) => {
  test('is filled and updated, at a small size', async () => {
    const model = await filledModel(small(each.config), { attune, ...storageOf(each) });
    const steps = trainingSteps({ ...each, model, length: 16, fp16: true });
    await steps.run();
    await steps.run();
    await steps.dispose?.();
    // What an update of weights that are not finite would leave.
    for (const [name, { tensor }] of model.root.namedParameters())
      expect([...(await tensor.data())].every(Number.isFinite), name).toBe(true);
    model.dispose();
  });
});

/** GB of the models that others measured, counted by hand: weights, gradients, AdamW and a bit. */
test.each([
  ['DistilGPT-2', 1.2, 3],
  ['GPT-2 Medium', 5.6, 9],
  ['Qwen3-1.7B int8', 2, 3.5],
] as const)('%s takes %f to %f GB', async (name, least, most) => {
  const each = loraCases.find((found) => found.name === name)!;
  const { peakBytes } = await estimateMemory({
    config: each.config,
    args: { perDeviceTrainBatchSize: each.batchSize, maxLength: each.length, fp16: true },
    ...(each.loraRank > 0 && { peftConfig: loraConfig(each.loraRank, each) }),
    ...storageOf(each),
    plugins: [peft()],
  });
  expect(peakBytes / 1e9).toBeGreaterThan(least);
  expect(peakBytes / 1e9).toBeLessThan(most);
});
