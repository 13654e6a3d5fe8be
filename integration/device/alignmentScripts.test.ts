// What a user writes, as it stands but for paths and lengths: it must compile and run.
import {
  AlignmentTrainer,
  align,
  DPOTrainer,
  GRPOTrainer,
  PPOTrainer,
  RewardTrainer,
} from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  createAttune,
  loadDataset,
  silentLogger,
} from '@attune/core';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { temporaryFolder } from './support.js';

const base = 'examples/demo/base';
const data = 'examples/demo/data';

async function parts() {
  const attune = await createAttune({
    plugins: [dawn(), peft(), align()],
    logger: silentLogger,
  });
  const model = await AutoModelForCausalLM.fromPretrained(base, { attune });
  const tokenizer = await AutoTokenizer.fromPretrained(base);
  const file = `${data}/preferences.train.jsonl`;
  const pairs = (await loadDataset('json', { dataFiles: file })).select(32);
  return { attune, model, tokenizer, pairs };
}

test('DPO, the reference being the model with the adapter off', async () => {
  const { attune, model, tokenizer, pairs: trainDataset } = await parts();
  await using _ = attune;
  const outputDir = await temporaryFolder();
  const dpo = new DPOTrainer({
    model,
    tokenizer,
    trainDataset,
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    args: {
      outputDir,
      beta: 0.1,
      lossType: 'sigmoid',
      learningRate: 5e-6,
      maxSteps: 2,
      loggingSteps: 1,
    },
  });
  await dpo.train();
  const logs = dpo.state.logHistory[0]!;
  for (const name of ['rewards/chosen', 'rewards/margins', 'logps/chosen', 'logits/rejected'])
    expect(logs[name]).toEqual(expect.any(Number));
});

test('an objective by its name', async () => {
  const { attune, model, tokenizer, pairs: trainDataset } = await parts();
  await using _ = attune;
  const outputDir = await temporaryFolder();
  const { globalStep } = await new AlignmentTrainer({
    objective: 'simpo',
    model,
    tokenizer,
    trainDataset,
    args: { beta: 2, gamma: 1, outputDir, maxSteps: 2, saveStrategy: 'no' },
  }).train();
  expect(globalStep).toBe(2);
});

test('a reward model', async () => {
  const { attune, tokenizer, pairs } = await parts();
  await using _ = attune;
  const model = await AutoModelForSequenceClassification.fromPretrained(base, {
    attune,
    numLabels: 1,
  });
  const outputDir = await temporaryFolder();
  const reward = new RewardTrainer({
    model,
    tokenizer,
    trainDataset: pairs,
    args: { outputDir, centerRewardsCoefficient: 0.01, maxSteps: 2, saveStrategy: 'no' },
  });
  await reward.train();
  expect(reward.state.logHistory.at(-1)).toHaveProperty('trainLoss');
});

test('GRPO with a function as the reward', async () => {
  const { attune, model, tokenizer, pairs } = await parts();
  await using _ = attune;
  const prompts = Array.from(pairs, (row) => ({ prompt: (row as { prompt: unknown }).prompt }));
  const outputDir = await temporaryFolder();
  const grpo = new GRPOTrainer({
    model,
    tokenizer,
    trainDataset: prompts,
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    rewardFuncs: [({ completions }) => completions.map((text) => Number(text.includes('high')))],
    args: {
      outputDir,
      numGenerations: 8,
      maxCompletionLength: 16,
      beta: 0.04,
      lossType: 'dapo',
      epsilon: 0.2,
      temperature: 1,
      maxSteps: 2,
      saveStrategy: 'no',
    },
  });
  await grpo.train();
  expect(grpo.state.globalStep).toBe(2);
});

test('PPO with a reward model, as a loop', async () => {
  const { attune, model, tokenizer, pairs } = await parts();
  await using _ = attune;
  const prompts = Array.from(pairs, (row) => ({ prompt: (row as { prompt: unknown }).prompt }));
  const rewardModel = await AutoModelForSequenceClassification.fromPretrained(base, {
    attune,
    numLabels: 1,
  });
  const outputDir = await temporaryFolder();
  const ppo = new PPOTrainer({
    policy: model,
    reward: rewardModel,
    tokenizer,
    prompts,
    args: {
      initKlCoef: 0.2,
      targetKl: 6,
      adapKlCtrl: true,
      ppoEpochs: 2,
      batchSize: 8,
      miniBatchSize: 4,
      maxNewTokens: 8,
      outputDir,
      maxSteps: 4,
      saveStrategy: 'no',
    },
  });
  const scores: unknown[] = [];
  for await (const stats of ppo.steps())
    scores.push([stats['objective/scores'], stats['objective/kl']]);
  expect(scores.length).toBeGreaterThan(0);
  for (const [score, kl] of scores as [number, number][]) {
    expect(score).toEqual(expect.any(Number));
    expect(kl).toEqual(expect.any(Number));
  }
});
