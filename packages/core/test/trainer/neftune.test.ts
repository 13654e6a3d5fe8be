import { causalLmObjective, SFTTrainer, Trainer } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { embeddingNoise, noiseMagnitude } from '../../src/trainer/loop/neftune.js';
import { float32Attune, idRows, minuteLlama, temporaryFolder, weightsOf } from './support.js';

/** A run in an Attune of its own, as after a restart of the process. */
async function run(args: object, stopAt?: number, resume = false) {
  await using attune = await float32Attune();
  const model = await minuteLlama(attune, 3);
  const controller = new AbortController();
  const losses: number[] = [];
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(8),
    evalDataset: idRows(4),
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      loggingSteps: 1,
      maxSteps: 4,
      saveSteps: 1,
      ...args,
    },
  });
  trainer.on('log', ({ logs }) => losses.push(logs.loss));
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  const before = (await trainer.evaluate()).evalLoss;
  await trainer.train({ resumeFromCheckpoint: resume, signal: controller.signal });
  return { before, losses, weights: await weightsOf(model) };
}

describe('row 120: neftuneNoiseAlpha', () => {
  test('noise on the embeddings of a batch: within alpha / sqrt(L d), L without padding, uniform', async () => {
    await using attune = await float32Attune();
    const { engine } = attune;
    const model = await minuteLlama(attune); // d = 8
    expect(noiseMagnitude(5, 4, 8)).toBe(5 / Math.sqrt(32));
    const objective = causalLmObjective({ maxLength: 32 });
    const batch = objective.collate([
      { inputIds: [1, 2, 3, 4], labels: [1, 2, 3, 4] },
      { inputIds: [5, 6], labels: [5, 6] },
    ]);
    const embedding = model.root.submodule('model.embed_tokens') as unknown as {
      forward(ids: unknown): ReturnType<typeof engine.ones>;
    };
    const { data, shape } = batch.inputIds!;
    const ids = engine.fromBytes(data, shape, 'int32');
    const plain = await embedding.forward(ids).data();
    const noisy = async () => {
      using _ = embeddingNoise(model, 5, batch);
      return Array.from(await embedding.forward(ids).data(), (x, i) => x - plain[i]!);
    };
    const noise = await noisy();
    const limit = 5 / Math.sqrt(32);
    expect(Math.max(...noise.map(Math.abs))).toBeLessThanOrEqual(limit * (1 + 1e-6));
    expect(Math.max(...noise.map(Math.abs))).toBeGreaterThan(limit * 0.95);
    const mean = noise.reduce((sum, x) => sum + x, 0) / noise.length;
    // Three standard errors of a mean of n uniform numbers.
    expect(Math.abs(mean)).toBeLessThan((3 * limit) / Math.sqrt(3 * noise.length));
    // Another draw, other noise; afterwards none.
    expect(await noisy()).not.toEqual(noise);
    expect(await embedding.forward(ids).data()).toEqual(plain);
  });

  test('off in evaluation; the same run again and across a resume, bit for bit', async () => {
    const noisy = { neftuneNoiseAlpha: 8 };
    const plain = await run({});
    const whole = await run(noisy);
    expect(whole.before).toBe(plain.before);
    expect(whole.losses[0]).not.toBe(plain.losses[0]);
    expect((await run(noisy)).losses).toEqual(whole.losses);
    expect((await run({ ...noisy, seed: 43 })).losses[0]).not.toBe(whole.losses[0]);
    for (const stopAt of [1, 3]) {
      const outputDir = await temporaryFolder();
      await run({ ...noisy, outputDir }, stopAt);
      const resumed = await run({ ...noisy, outputDir }, undefined, true);
      expect(resumed.losses).toEqual(whole.losses.slice(stopAt));
      expect(resumed.weights).toEqual(whole.weights);
    }
  });

  test('0 and null are off', async () => {
    const plain = await run({});
    for (const neftuneNoiseAlpha of [0, null])
      expect((await run({ neftuneNoiseAlpha })).losses).toEqual(plain.losses);
  });
});

describe('labelSmoothingFactor and lossType', () => {
  test('change the loss; together they are refused', async () => {
    const plain = await run({ maxSteps: 1 });
    const smooth = await run({ maxSteps: 1, labelSmoothingFactor: 0.2 });
    expect(smooth.losses[0]).not.toBe(plain.losses[0]);
    const dft = await run({ maxSteps: 1, lossType: 'dft' });
    expect(dft.losses[0]).toBeLessThan(plain.losses[0]! / 2);
    expect((await run({ maxSteps: 1, loss_type: 'chunked_nll' })).losses).toEqual(plain.losses);
    await expect(run({ lossType: 'dft', labelSmoothingFactor: 0.1 })).rejects.toThrow(
      /ARGUMENTS_INVALID: lossType is "dft".*labelSmoothingFactor/,
    );
  });

  test('an objective that does not smooth is not told to', async () => {
    await using attune = await float32Attune();
    const model = await minuteLlama(attune);
    const make = (labelSmoothing: number) =>
      new Trainer({
        model,
        objective: causalLmObjective({ maxLength: 16, labelSmoothing }),
        args: { labelSmoothingFactor: 0.1 },
      });
    expect(() => make(0)).toThrow(/ARGUMENTS_INVALID.*"causal-lm" does not smooth labels/);
    expect(() => make(0.1)).not.toThrow();
  });
});
