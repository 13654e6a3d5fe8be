import { createAttune, defineCallback, SFTTrainer, silentLogger } from '@attune/core';
// Dropout comes with adapters: this test crosses the rooms on purpose.
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { minuteLlama, temporaryFolder } from '../packages/core/test/trainer/support.js';

const rows = Array.from({ length: 8 }, (_, r) => ({
  input_ids: Array.from({ length: 24 }, (_, t) => (r * 5 + t * 3) % 17),
}));

/** Three updates of five layers, with dropout: every gradient of each, and what was planned. */
async function run(args: object, lora: boolean) {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [peft()],
    logger: silentLogger,
  });
  const model = await minuteLlama(attune, 1, { num_hidden_layers: 5 });
  const gradients: number[] = [];
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    ...(lora && {
      peftConfig: { peftType: 'LORA', r: 2, loraDropout: 0.2, targetModules: 'all-linear' },
    }),
    args: {
      outputDir: await temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 3,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      ...args,
    },
    callbacks: [
      defineCallback({
        async onPreOptimizerStep({ model: { root } }) {
          for (const [, { tensor }] of root.namedParameters())
            if (tensor.grad) gradients.push(...(await tensor.grad.data()));
        },
      }),
    ],
  });
  const { peakBytes } = await trainer.planMemory();
  await trainer.train();
  return { gradients, peakBytes };
}

describe.each([{ lora: false }, { lora: true }])('gradient checkpointing, %o', ({ lora }) => {
  test('every n layers: the same gradients bit for bit (row 16)', async () => {
    const plain = await run({}, lora);
    expect(plain.gradients.length).toBeGreaterThan(100);
    const peaks = [];
    for (const everyNLayers of [1, 2, 3, 5, 9]) {
      const args = { gradientCheckpointing: true, gradientCheckpointingKwargs: { everyNLayers } };
      const { gradients, peakBytes } = await run(args, lora);
      expect(gradients).toEqual(plain.gradients);
      peaks.push(peakBytes);
    }
    // With all five layers in one piece nothing is saved; with each by itself, most.
    expect(peaks[0]).toBeLessThan(peaks[2]!);
    expect(peaks[2]).toBeLessThan(peaks[3]!);
    expect(peaks[3]).toBe(peaks[4]);
    expect(peaks[0]).toBeLessThan(0.8 * plain.peakBytes);
  });
});

test('options in both spellings; what they cannot be is said', async () => {
  const trainer = (kwargs: unknown) =>
    run({ gradient_checkpointing: true, gradient_checkpointing_kwargs: kwargs }, false);
  const one = await trainer({ every_n_layers: 2, use_reentrant: false });
  const other = await trainer({ everyNLayers: 2 });
  expect(one.peakBytes).toBe(other.peakBytes);
  await expect(trainer({ everyNLayers: 0 })).rejects.toThrow(/everyNLayers/);
  await expect(trainer({ everyLayer: 2 })).rejects.toThrow(/everyLayer/);
});
