import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { causalLmObjective, type Objective, ops, Trainer, type TrainOptions } from '@attune/core';
import { expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

// Files of people outlive versions. checkpoints/checkpoint-5 was written by version 0.1.0, before a
// run became a value that is stepped: by the run below, which a signal ended after its fifth update
// of eight.

const noisy: Objective = {
  ...causalLmObjective({ maxLength: 32 }),
  loss(model, { inputIds, labels }) {
    const hidden = model.hiddenStates({ inputIds: inputIds! });
    const logits = model.head(model.root.training ? ops.dropout(hidden, 0.3) : hidden);
    const nll = ops.crossEntropy(logits.reshape(labels!.size, -1), labels!.reshape(labels!.size));
    return { loss: nll.sum(), metrics: { nllAgain: { sum: nll.sum(), count: 2 } } };
  },
};

async function run(outputDir: string, options: TrainOptions = {}) {
  await using attune = await float32Attune(new ListLogger());
  const model = await minuteLlama(attune, 3);
  const trainer = new Trainer({
    model,
    objective: noisy,
    trainDataset: idRows(11),
    evalDataset: idRows(4),
    args: {
      outputDir,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      seed: 5,
      maxSteps: 8,
      loggingSteps: 3,
      evalStrategy: 'steps',
      evalSteps: 4,
      saveSteps: 100,
      lrSchedulerType: 'cosine',
      warmupSteps: 2,
      weightDecay: 0.1,
    },
  });
  const output = await trainer.train(options);
  const history = trainer.state.logHistory.map((row) =>
    Object.fromEntries(
      Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
    ),
  );
  return { output, history, weights: await weightsOf(model) };
}

test('a checkpoint of an older version goes on to the same bits', async () => {
  const outputDir = await temporaryFolder();
  const old = fileURLToPath(new URL('checkpoints/checkpoint-5', import.meta.url));
  await cp(old, join(outputDir, 'checkpoint-5'), { recursive: true });
  const resumed = await run(outputDir, { resumeFromCheckpoint: true });
  const whole = await run(await temporaryFolder());
  expect(resumed.output.globalStep).toBe(8);
  expect(resumed.weights).toEqual(whole.weights);
  expect(resumed.history).toEqual(whole.history);
  expect(resumed.output.trainingLoss).toBe(whole.output.trainingLoss);
});
