import {
  align,
  CPOTrainer,
  DPOTrainer,
  IPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  SimPOTrainer,
} from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import { type Attune, AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixture, fixtureJson, temporaryFolder } from './support.js';

const ids = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => (37 * seed + 11 * i + i * i) % 200);
const pairs = Array.from({ length: 12 }, (_, i) => ({
  prompt_ids: ids(i, 4 + (i % 5)),
  chosen_ids: ids(50 + i, 3 + (i % 7)),
  rejected_ids: ids(90 + i, 2 + (i % 6)),
}));
const peftConfig = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: 'all-linear' } as const;

const plugins = () => [dawn(), peft(), align()];
const onDevice = () => createAttune({ plugins: plugins(), logger: silentLogger });
const onReference = () =>
  createAttune({ backend: 'reference', plugins: plugins(), logger: silentLogger });

const trainers = {
  DPO: [DPOTrainer, { beta: 0.3 }],
  'DPO of several losses, weighed': [
    DPOTrainer,
    { lossType: ['sigmoid', 'bco_pair', 'sft'], useWeighting: true, ldAlpha: 0.5 },
  ],
  'DPO, sorted': [DPOTrainer, { lossType: 'aot' }],
  IPO: [IPOTrainer, {}],
  KTO: [KTOTrainer, {}],
  ORPO: [ORPOTrainer, {}],
  SimPO: [SimPOTrainer, { beta: 2, gamma: 1 }],
  CPO: [CPOTrainer, {}],
} as const;

async function run(name: keyof typeof trainers, attune: Attune) {
  const [Class, own] = trainers[name];
  const trainer = new (Class as typeof DPOTrainer)({
    model: await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    }),
    trainDataset: pairs,
    peftConfig,
    args: {
      ...(own as object),
      outputDir: await temporaryFolder(),
      maxSteps: 6,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 5e-3,
      loggingSteps: 1,
      saveStrategy: 'no',
      seed: 3,
    },
  });
  await trainer.train();
  return trainer.state.logHistory.filter((row) => 'gradNorm' in row);
}

describe('alignment on the device follows the reference backend', () => {
  for (const name of Object.keys(trainers) as (keyof typeof trainers)[])
    test(name, async () => {
      await using device = await onDevice();
      await using reference = await onReference();
      const [found, expected] = [await run(name, device), await run(name, reference)];
      expect(found).toHaveLength(6);
      for (const [i, row] of expected.entries())
        for (const [key, value] of Object.entries(row)) {
          if (typeof value !== 'number' || key === 'step' || key === 'epoch') continue;
          const scale = Math.max(Math.abs(value), key === 'gradNorm' ? 0.01 : 0.1);
          const tolerance = key === 'gradNorm' ? 1e-2 : 1e-3;
          expect(
            Math.abs((found[i]![key] as number) - value) / scale,
            `${key} of ${i}`,
          ).toBeLessThan(tolerance);
        }
    });
});

describe('memory of DPO', () => {
  test('one copy of the base, no logits of all tokens: as planned', async () => {
    const attune = await onDevice();
    const { backend } = attune.engine;
    const vocabulary = 8000;
    const model = await AutoModelForCausalLM.fromConfig(
      { ...fixtureJson('tiny-llama/config.json'), vocab_size: vocabulary, hidden_size: 32 },
      { attune, seed: 1 },
    );
    const long = Array.from({ length: 8 }, (_, i) => ({
      prompt_ids: ids(i, 32),
      chosen_ids: ids(50 + i, 96),
      rejected_ids: ids(90 + i, 96),
    }));
    const trainer = new DPOTrainer({
      model,
      trainDataset: long,
      peftConfig,
      args: {
        outputDir: await temporaryFolder(),
        maxSteps: 3,
        perDeviceTrainBatchSize: 4,
        saveStrategy: 'no',
      },
    });
    const plan = await trainer.planMemory();
    await trainer.train();
    const measured = backend.stats.peakBytes;
    expect(Math.abs(plan.peakBytes / measured - 1)).toBeLessThan(0.03);
    // 8 rows of 128 tokens: their logits alone would have 32 MB.
    const logits = 8 * 128 * vocabulary * 4;
    const weights = 2 * vocabulary * 32 * 4;
    expect(plan.peakBytes).toBeLessThan(weights + logits / 2);
    await attune.dispose();
  });
});
