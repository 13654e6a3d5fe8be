import {
  type Attune,
  createAttune,
  type Objective,
  SFTTrainer,
  silentLogger,
  Trainer,
} from '@attune/core';
// Dropout comes with adapters: this test crosses the rooms on purpose.
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  minuteLlama,
  temporaryFolder,
} from '../packages/core/test/trainer/support.js';

const args = async (more: object = {}) => ({
  outputDir: await temporaryFolder(),
  saveStrategy: 'no' as const,
  maxSteps: 3,
  perDeviceTrainBatchSize: 4,
  loggingSteps: 1,
  ...more,
});

const referenceAttune = (): Promise<Attune> =>
  createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });

const longRows = Array.from({ length: 12 }, (_, r) => ({
  input_ids: Array.from({ length: 40 }, (_, t) => (r * 5 + t * 3) % 17),
}));

describe('planMemory', () => {
  test('says what the run then holds, the reference to the byte', async () => {
    await using attune = await float32Attune();
    const { stats } = attune.backend;
    const model = await minuteLlama(attune);
    const trainer = new SFTTrainer({ model, trainDataset: idRows(20), args: await args() });
    const plan = await trainer.planMemory();
    stats.peakBytes = stats.liveBytes;
    await trainer.train();
    expect(plan.peakBytes).toBe(stats.peakBytes);
    // Weights lie in arenas, each at a multiple of 256 bytes.
    expect(plan.bytesOf('weights')).toBeGreaterThan(4 * plan.parameters);
    expect(plan.bytesOf('optimizer')).toBeGreaterThanOrEqual(2 * plan.bytesOf('weights'));
    expect(plan.bytesOf('gradients')).toBe(plan.bytesOf('weights'));
    expect(plan.trainedParameters).toBe(plan.parameters);
    expect(plan.batch).toMatchObject({ inputIds: [4, 32], labels: [4, 32] });
  });

  test('counts an evaluation that is larger than a step, and a generation', async () => {
    await using attune = await float32Attune();
    const { stats } = attune.backend;
    const model = await minuteLlama(attune);
    const trainer = new SFTTrainer({
      model,
      trainDataset: idRows(8),
      evalDataset: longRows,
      args: await args({
        perDeviceTrainBatchSize: 1,
        perDeviceEvalBatchSize: 12,
        evalStrategy: 'steps',
      }),
    });
    const generation = { batchSize: 3, promptLength: 9, maxNewTokens: 4 };
    const plan = await trainer.planMemory({ generation });
    const phases = Object.fromEntries(plan.phases.map((p) => [p.name, p.peakBytes]));
    expect(phases.evaluate).toBe(plan.peakBytes);
    expect(phases.step).toBeLessThan(phases.evaluate!);
    stats.peakBytes = stats.liveBytes;
    await trainer.train();
    expect(plan.peakBytes).toBe(stats.peakBytes);
    stats.peakBytes = stats.liveBytes;
    await model.generate({
      inputIds: [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2], [3]],
      maxNewTokens: 4,
      eosTokenId: [],
    });
    expect(Math.abs(phases.generate! - stats.peakBytes)).toBeLessThan(0.01 * stats.peakBytes);
  });

  test('leaves no trace: the run is the one without it, dropout included', async () => {
    const run = async (planned: boolean) => {
      await using attune = await referenceAttune();
      const model = await minuteLlama(attune);
      const trainer = new SFTTrainer({
        model,
        trainDataset: idRows(16),
        peftConfig: { peftType: 'LORA', r: 2, loraDropout: 0.3, targetModules: 'all-linear' },
        args: await args(),
      });
      const live = [attune.engine.liveTensors, { ...attune.backend.stats }];
      const draws = attune.engine.dropoutDraws;
      if (planned) await trainer.planMemory();
      expect([attune.engine.liveTensors, { ...attune.backend.stats }]).toEqual(live);
      expect(attune.engine.dropoutDraws).toBe(draws);
      expect(model.root.training).toBe(false);
      await trainer.train();
      return trainer.state.logHistory.flatMap((row) => ('gradNorm' in row ? [row.loss] : []));
    };
    const losses = await run(true);
    expect(losses).toHaveLength(3);
    expect(losses).toEqual(await run(false));
  });

  test('after an error in it the model is what it was', async () => {
    await using attune = await float32Attune();
    const model = await minuteLlama(attune);
    const { stats } = attune.backend;
    const objective: Objective = {
      name: 'broken',
      collate: () => ({ x: { data: Float32Array.of(1), shape: [1], dtype: 'float32' } }),
      countItems: () => 1,
      loss: () => {
        throw new Error('no such array');
      },
    };
    const trainer = new Trainer({ model, objective, trainDataset: [1], args: await args() });
    const before = { ...stats };
    const weights = [...model.root.namedParameters()].map(([, { tensor }]) => tensor);
    await expect(trainer.planMemory()).rejects.toThrow('no such array');
    expect(stats).toEqual(before);
    expect([...model.root.namedParameters()].map(([, { tensor }]) => tensor)).toEqual(weights);
  });

  test('prints a table whose lines add up', async () => {
    await using attune = await float32Attune();
    const model = await minuteLlama(attune);
    const trainer = new SFTTrainer({ model, trainDataset: idRows(20), args: await args() });
    const plan = await trainer.planMemory();
    expect(plan.entries.reduce((n, { bytes }) => n + bytes, 0)).toBe(plan.reservedBytes);
    const text = String(plan);
    for (const word of ['weights, float32', 'gradients', 'optimizer', 'inputIds [4, 32]'])
      expect(text).toContain(word);
  });
});
