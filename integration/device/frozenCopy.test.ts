import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  causalLmObjective,
  frozenCopy,
  type LanguageModel,
  type Objective,
  Trainer,
} from '@attune/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixture, onDawn, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

async function logits(model: LanguageModel): Promise<ArrayLike<number>> {
  const { engine } = model;
  const inputIds = engine.tensor([5, 9, 2, 7, 11, 3], [2, 3], 'int32');
  const found = engine.noGrad(() => engine.scope('forward', () => model.forward({ inputIds })));
  const values = await found.data();
  for (const tensor of [inputIds, found]) tensor.dispose();
  return values;
}

test.each(['bfloat16', 'float16'] as const)('of weights in %s, too', async (dtype) => {
  const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-gemma2'), {
    attune,
    dtype,
  });
  const before = await logits(model);
  using copy = await frozenCopy(model);
  model.dispose();
  expect(await logits(copy)).toEqual(before);
});

test.each([
  ['tiny-llama-tied', {}],
  ['tiny-gemma2', { dtype: 'float32' }],
  ['tiny-gpt2', { dtype: 'float32' }],
  ['tiny-qwen2', { quantization: { loadIn4bit: true, bnb4bitUseDoubleQuant: true } }],
] as const)('a frozen copy of %s stays what the model was, to the bit', async (name, options) => {
  const model = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune, ...options });
  const before = await logits(model);
  const objective = causalLmObjective({ maxLength: 16, preflight: 'off' });
  let copy: CausalLM | null = null;
  const trainer = new Trainer({
    model,
    objective: {
      ...objective,
      async prepare() {
        copy = await frozenCopy(model);
      },
    } as Objective,
    trainDataset: [3, 4, 5, 6].map((length) => ({
      input_ids: Array.from({ length }, (_, i) => 3 + i * length),
    })),
    args: {
      outputDir: await temporaryFolder(),
      maxSteps: 2,
      learningRate: 0.05,
      saveStrategy: 'no',
    },
  });
  const { peakBytes } = await trainer.planMemory();
  expect(await logits(copy!)).toEqual(before);
  const { stats } = attune.backend;
  stats.peakBytes = stats.liveBytes;
  await trainer.train();
  expect(stats.peakBytes).toBeLessThanOrEqual(peakBytes);
  expect(await logits(copy!)).toEqual(before);
  expect(await logits(model)).not.toEqual(before);
  const { liveBytes } = stats;
  copy!.dispose();
  expect(stats.liveBytes).toBeLessThan(liveBytes - 10_000);
  expect(await logits(model)).not.toEqual(before);
  model.dispose();
});
