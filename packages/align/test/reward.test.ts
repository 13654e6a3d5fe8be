import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RewardTrainer, rewardObjective } from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  silentLogger,
} from '@attune/core';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '../../../parity/fixtures/tiny-llama');
const start = (): Promise<Attune> => createAttune({ backend: 'reference', logger: silentLogger });
const load = (attune: Attune, numLabels = 1) =>
  AutoModelForSequenceClassification.fromPretrained(folder, {
    attune,
    dtype: 'float32',
    numLabels,
  });

const ids = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => (37 * seed + 11 * i + i * i) % 200);
const pairs = Array.from({ length: 6 }, (_, i) => ({
  chosen_ids: ids(50 + i, 3 + (i % 4)),
  rejected_ids: ids(90 + i, 2 + (i % 5)),
  margin: 0.1 * i,
}));

test('learns which text is better, and logs what TRL logs', async () => {
  await using attune = await start();
  const trainer = new RewardTrainer({
    model: await load(attune),
    trainDataset: pairs,
    args: {
      outputDir: await mkdtemp(join(tmpdir(), 'attune-align-')),
      centerRewardsCoefficient: 0.01,
      maxSteps: 8,
      perDeviceTrainBatchSize: 6,
      learningRate: 3e-3,
      loggingSteps: 1,
      saveStrategy: 'no',
    },
  });
  await trainer.train();
  const logs = trainer.state.logHistory.filter((row) => 'loss' in row);
  const [first, last] = [logs[0]!, logs.at(-1)!];
  expect(last.loss).toBeLessThan(first.loss as number);
  expect(last.accuracy).toBe(1);
  expect(last.minReward).toBeLessThan(last.meanReward as number);
  expect(last.maxReward).toBeGreaterThan(last.meanReward as number);
  expect(last.margin).toBeGreaterThan(0);
});

test("pooling: transformers reads the last id that is not padding's", async () => {
  await using attune = await start();
  const model = await load(attune);
  (model.config.raw as Record<string, unknown>).pad_token_id = 7;
  const pair = {
    chosen: { inputIds: Int32Array.of(3, 7, 5, 7), labels: Int32Array.of(3, 7, 5, 7) },
    rejected: { inputIds: Int32Array.of(7, 7), labels: Int32Array.of(7, 7) },
    promptLength: 0,
  };
  const at = (pooling: 'length' | 'transformers') => [
    ...rewardObjective(model, { maxLength: 8, pooling }).collate([pair]).lastTokens!.data,
  ];
  expect(at('length')).toEqual([3, 1]);
  expect(at('transformers')).toEqual([2, 1]);
});

test('refuses what gives no reward', async () => {
  await using attune = await start();
  const two = await load(attune, 2);
  expect(() => rewardObjective(two, { maxLength: 8 })).toThrow(/2 scores/);
  const writer = await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
  expect(() => rewardObjective(writer, { maxLength: 8 })).toThrow(/no score of a text/);
  const model = await load(attune);
  delete (model.config.raw as Record<string, unknown>).pad_token_id;
  expect(() => rewardObjective(model, { maxLength: 8, pooling: 'transformers' })).toThrow(
    /pad_token_id/,
  );
});
