import { GRPOTrainer, type RewardInput } from '@attune/align';
import { type Attune, AutoModelForCausalLM, AutoTokenizer } from '@attune/core';
import { PeftModel } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  followPolicyRun,
  type RunTolerance,
  recordedRuns,
} from '../../packages/align/test/recordedPolicyRuns.js';
import { fixture, hasStories, onDawn, shared, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

const onDevice: RunTolerance = { loss: 1e-3, gradNorm: 1e-2, metrics: 1e-3 };

describe('GRPO and RLOO follow TRL on the device', () => {
  const runs = recordedRuns();
  const names = ['lora-grpo', 'lora-gspo', 'lora-cispo', 'lora-rloo-twice'];
  test.each(names)('%s', async (name) => {
    const run = runs.cases.find((one) => one.name === name)!;
    const base = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    const model = await PeftModel.fromPretrained(base, fixture('align-grpo/adapter'), {
      isTrainable: true,
    });
    await followPolicyRun(run, runs, model, onDevice);
  });
});

test('a run that dies in a rollout goes on to the same bits, within the planned memory', async () => {
  const make = async (fails: boolean, outputDir: string) => {
    const base = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    let calls = 0;
    const even = ({ completionIds }: RewardInput) => {
      if (fails && ++calls === 3) throw new Error('no connection');
      return completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length / ids.length);
    };
    return new GRPOTrainer({
      model: base,
      peftConfig: { peftType: 'LORA', r: 4 },
      trainDataset: Array.from({ length: 8 }, (_, i) => ({ input_ids: [i + 3, 2 * i + 4] })),
      rewardFuncs: [even],
      args: {
        outputDir,
        perDeviceTrainBatchSize: 8,
        numGenerations: 4,
        numIterations: 2,
        maxCompletionLength: 12,
        beta: 0.04,
        learningRate: 1e-2,
        maxSteps: 8,
        loggingSteps: 1,
        saveSteps: 4,
      },
    });
  };
  const weightsOf = async ({ model }: GRPOTrainer) => {
    const weights: Record<string, ArrayLike<number>> = {};
    for (const [name, { trainable, tensor }] of model.root.namedParameters())
      if (trainable) weights[name] = await tensor.data();
    return weights;
  };
  const whole = await make(false, await temporaryFolder());
  const plan = await whole.planMemory();
  const { stats } = attune.backend;
  stats.peakBytes = stats.liveBytes;
  await whole.train();
  expect(stats.peakBytes).toBeLessThanOrEqual(1.03 * plan.peakBytes);
  const outputDir = await temporaryFolder();
  await expect((await make(true, outputDir)).train()).rejects.toThrow(/no connection/);
  const resumed = await make(false, outputDir);
  await resumed.train({ resumeFromCheckpoint: true });
  expect(await weightsOf(resumed)).toEqual(await weightsOf(whole));
  expect(resumed.completions).toEqual(whole.completions);
});

describe.skipIf(!hasStories)('stories260k (needs the shared model)', () => {
  test('GRPO makes stories happy within 100 updates, without losing entropy or memory', async () => {
    const folder = shared('models/stories260k');
    const beginnings = ['Once upon a time', 'One day', 'In the park', 'Lily saw a big dog'];
    const happy = ({ completions }: RewardInput) =>
      completions.map((text) => Number(text.includes('happy')));
    const rewards: number[] = [];
    const entropies: number[] = [];
    const bytes: number[] = [];
    const trainer = new GRPOTrainer({
      model: await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' }),
      tokenizer: await AutoTokenizer.fromPretrained(folder),
      trainDataset: beginnings.map((prompt) => ({ prompt })),
      peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
      rewardFuncs: [happy],
      args: {
        outputDir: await temporaryFolder(),
        perDeviceTrainBatchSize: 64,
        numGenerations: 16,
        maxCompletionLength: 24,
        beta: 0.04,
        learningRate: 5e-3,
        lrSchedulerType: 'constant',
        maxSteps: 100,
        loggingSteps: 1,
        saveStrategy: 'no',
      },
      callbacks: [
        {
          onLog({ control }, logs) {
            if (logs.reward === undefined) return;
            rewards.push(logs.reward);
            entropies.push(logs.entropy!);
            bytes.push(attune.backend.stats.liveBytes);
            // Three updates in a row are no luck.
            control.shouldTrainingStop = rewards.slice(-3).every((r) => r >= 0.9);
          },
        },
      ],
    });
    await trainer.train();
    expect(rewards.length).toBeLessThanOrEqual(100);
    expect(rewards.slice(-3).every((reward) => reward >= 0.9)).toBe(true);
    expect(rewards[0]).toBeLessThan(0.2);
    expect(entropies.at(-1)).toBeGreaterThan(0.3);
    expect(Math.max(...bytes.slice(-10))).toBeLessThanOrEqual(
      1.05 * Math.max(...bytes.slice(0, 10)),
    );
  });
});
