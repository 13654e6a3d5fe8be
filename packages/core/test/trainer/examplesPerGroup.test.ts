import {
  causalLmObjective,
  type HostBatch,
  type Objective,
  type TokenExample,
  Trainer,
} from '@attune/core';
import { expect, test } from 'vitest';
import { float32Attune, idRows, minuteLlama, temporaryFolder } from './support.js';

const base = causalLmObjective({ maxLength: 32, preflight: 'off' });

/** Makes two micro-batches of the three rows that it takes at once, and records what it gets. */
function taking(seen: { use: string; rows: number[] }[]): Objective<TokenExample> {
  return {
    ...base,
    examplesPerGroup: { training: 3, evaluation: 2 },
    generation: (examples) => ({
      batchSize: 6,
      promptLength: Math.max(...examples.map(({ inputIds }) => inputIds.length)),
      maxNewTokens: 16,
    }),
    async *updates(group, { use }) {
      seen.push({ use, rows: group.map(rowsOf) });
      yield { batches: [group[0]!, group[0]!] };
    },
  };
}

const rowsOf = ({ inputIds }: HostBatch): number => inputIds!.shape[0]!;

test('an objective says of how many rows a group is made, whatever the batch sizes', async () => {
  await using attune = await float32Attune();
  const seen: { use: string; rows: number[] }[] = [];
  const trainer = new Trainer({
    model: await minuteLlama(attune),
    objective: taking(seen),
    trainDataset: idRows(7),
    evalDataset: idRows(3),
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      perDeviceEvalBatchSize: 5,
      gradientAccumulationSteps: 4,
      numTrainEpochs: 2,
      dataloaderDropLast: true,
      saveStrategy: 'no',
    },
  });
  const { globalStep } = await trainer.train();
  expect(globalStep).toBe(4);
  expect(trainer.state.epoch).toBe(2);
  await trainer.evaluate();
  expect(seen).toEqual([
    ...Array.from({ length: 4 }, () => ({ use: 'training', rows: [3] })),
    { use: 'evaluation', rows: [2] },
    { use: 'evaluation', rows: [1] },
  ]);
});

test('its generation is a phase of the memory plan', async () => {
  await using attune = await float32Attune();
  const trainer = new Trainer({
    model: await minuteLlama(attune),
    objective: taking([]),
    trainDataset: idRows(4),
    args: { outputDir: await temporaryFolder(), saveStrategy: 'no' },
  });
  const { phases } = await trainer.planMemory();
  expect(phases.find(({ name }) => name === 'generate')?.peakBytes).toBeGreaterThan(0);
});

test('fewer rows than a group takes are refused with the number', async () => {
  await using attune = await float32Attune();
  const trainer = new Trainer({
    model: await minuteLlama(attune),
    objective: taking([]),
    trainDataset: idRows(2),
    args: { outputDir: await temporaryFolder(), dataloaderDropLast: true, saveStrategy: 'no' },
  });
  await expect(trainer.train()).rejects.toThrow(
    /NO_TRAINING_ROWS: .*fewer training rows than the 3/,
  );
});
