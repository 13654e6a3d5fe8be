import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align, DPOTrainer } from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  type Logger,
  silentLogger,
} from '@attune/core';
import type { GenerativeModel } from '@attune/core/models';
import { getPeftModel, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';

const folder = join(import.meta.dirname, '../../parity/fixtures/tiny-llama');
const ids = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => (37 * seed + 11 * i + i * i) % 200);
const pairs = Array.from({ length: 8 }, (_, i) => ({
  prompt_ids: ids(i, 2 + (i % 3)),
  chosen_ids: ids(50 + i, 2 + (i % 4)),
  rejected_ids: ids(90 + i, 1 + (i % 5)),
}));

const start = (logger: Logger = silentLogger): Promise<Attune> =>
  createAttune({ backend: 'reference', plugins: [align(), peft()], logger });
const load = (attune: Attune) =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
const temporary = () => mkdtemp(join(tmpdir(), 'attune-align-'));

const lora = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: ['q_proj', 'v_proj'] } as const;

/** As if it had been trained before: no part of it is 0. */
const trained = (attune: Attune) =>
  load(attune).then((model) => getPeftModel(model, { ...lora, initLoraWeights: false }));

interface Options {
  readonly model: GenerativeModel;
  readonly more?: object;
  readonly args?: object;
}
const dpo = async ({ model, more = {}, args = {} }: Options) =>
  new DPOTrainer({
    model,
    trainDataset: pairs,
    ...more,
    args: {
      outputDir: await temporary(),
      maxSteps: 4,
      perDeviceTrainBatchSize: 4,
      learningRate: 1e-2,
      loggingSteps: 1,
      saveStrategy: 'no',
      ...args,
    },
  });

const lossesOf = ({ state }: DPOTrainer) =>
  state.logHistory.flatMap(({ loss }) => (loss === undefined ? [] : [loss as number]));

const listening = () => {
  const said: string[] = [];
  const keep = (text: string) => void said.push(text);
  return { said, logger: { ...silentLogger, info: keep, warn: keep } };
};

describe('the reference of a model with adapters', () => {
  test('a new adapter: the model with it off', async () => {
    const { said, logger } = listening();
    await using attune = await start(logger);
    const trainer = await dpo({ model: await load(attune), more: { peftConfig: lora } });
    await trainer.train();
    expect(lossesOf(trainer)[0]).toBeCloseTo(Math.LN2, 7);
    expect(lossesOf(trainer).at(-1)).toBeLessThan(0.69);
    expect(said.join('\n')).toContain('reference: the model with its adapters off.');
  });

  test('an adapter that was trained before: a frozen copy of it, and the first loss is ln 2', async () => {
    const { said, logger } = listening();
    await using attune = await start(logger);
    const model = await trained(attune);
    const trainer = await dpo({ model });
    await trainer.train();
    expect(lossesOf(trainer)[0]).toBeCloseTo(Math.LN2, 7);
    expect(lossesOf(trainer).at(-1)).toBeLessThan(0.69);
    expect(said.join('\n')).toContain('a frozen copy of the adapter default');
    expect(said.join('\n')).not.toContain('does not begin at its reference');
    const saved = await temporary();
    await trainer.saveModel(saved);
    expect((await readdir(saved)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
  });

  test('a second run on the same model has a copy of its own', async () => {
    await using attune = await start();
    const model = await trained(attune);
    const first = await dpo({ model });
    await first.train();
    const second = await dpo({ model });
    await second.train();
    expect(lossesOf(second)[0]).toBeCloseTo(Math.LN2, 7);
    expect(lossesOf(second).at(-1)).toBeLessThan(0.69);
  });

  test('the base of such an adapter is no start, and the log says so', async () => {
    const { said, logger } = listening();
    await using attune = await start(logger);
    const trainer = await dpo({ model: await trained(attune), more: { reference: 'base' } });
    await trainer.train();
    expect(Math.abs(lossesOf(trainer)[0]! - Math.LN2)).toBeGreaterThan(1e-3);
    expect(said.join('\n')).toContain('does not begin at its reference');
  });

  test('a second model; it must share the vocabulary', async () => {
    await using attune = await start();
    const [model, second] = [await load(attune), await load(attune)];
    const trainer = await dpo({ model, more: { reference: second } });
    await trainer.train();
    expect(lossesOf(trainer)[0]).toBeCloseTo(Math.LN2, 7);
    const other = await AutoModelForCausalLM.fromPretrained(join(folder, '../tiny-gpt2'), {
      attune,
      dtype: 'float32',
    });
    if (other.config.vocabSize !== model.config.vocabSize)
      await expect(dpo({ model, more: { reference: other } })).rejects.toThrow(/vocabulary/);
  });

  for (const [name, make] of [
    [
      'a new adapter',
      async (attune: Attune) => ({ model: await load(attune), more: { peftConfig: lora } }),
    ],
    ['a trained adapter', async (attune: Attune) => ({ model: await trained(attune) })],
    ['all weights', async (attune: Attune) => ({ model: await load(attune) })],
  ] as const)
    test(`${name}: a resumed run is bit for bit the uninterrupted one`, async () => {
      const outputDir = await temporary();
      const args = { outputDir, saveStrategy: 'steps', saveSteps: 2 };
      await using whole = await start();
      const first = await dpo({ ...(await make(whole)), args });
      await first.train();
      await using again = await start();
      const second = await dpo({
        ...(await make(again)),
        args: { ...args, outputDir: await temporary() },
      });
      await second.train({ resumeFromCheckpoint: join(outputDir, 'checkpoint-2') });
      expect(lossesOf(second)).toEqual(lossesOf(first));
    });
});

test('one copy of the base: the adapter and its copy are all that training adds', async () => {
  await using attune = await start();
  const model = await load(attune);
  const trainer = await dpo({ model, more: { peftConfig: lora } });
  const plan = await trainer.planMemory();
  await using plain = await start();
  const second = await load(plain);
  const reference = await load(plain);
  const two = await dpo({ model: second, more: { peftConfig: lora, reference } });
  const other = await two.planMemory();
  let bytes = 0;
  for (const [, { tensor }] of reference.root.namedParameters()) bytes += 4 * tensor.size;
  expect(other.peakBytes - plan.peakBytes).toBeGreaterThan(0.9 * bytes);
});
