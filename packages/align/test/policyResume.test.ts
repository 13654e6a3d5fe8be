import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GRPOTrainer,
  type GrpoTrainerOptions,
  type RewardFunction,
  RLOOTrainer,
  type RlooTrainerOptions,
} from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  type GenerateOptions,
  silentLogger,
} from '@attune/core';
import { expect, test } from 'vitest';
import { float32Attune } from '../../core/test/trainer/support.js';

const config = {
  model_type: 'llama',
  vocab_size: 17,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.3,
  eos_token_id: 2,
  tie_word_embeddings: false,
};

const folder = () => mkdtemp(join(tmpdir(), 'attune-policy-'));
const reference = () => createAttune({ backend: 'reference', logger: silentLogger });
const loaded = (attune: Attune) => AutoModelForCausalLM.fromConfig(config, { attune, seed: 3 });

/** The share of tokens that are 5 or more. */
const high: RewardFunction = ({ completionIds }) =>
  completionIds.map((ids) => ids.filter((id) => id >= 5).length / ids.length);
const rows = [[3, 4], [5], [6, 7, 8], [9], [10, 3], [4]].map((input_ids) => ({ input_ids }));

const args = {
  perDeviceTrainBatchSize: 4,
  gradientAccumulationSteps: 2,
  numGenerations: 4,
  stepsPerGeneration: 4,
  numIterations: 2,
  maxCompletionLength: 6,
  learningRate: 0.02,
  maxSteps: 12,
  saveSteps: 4,
  loggingSteps: 1,
};

type Common = Omit<GrpoTrainerOptions & RlooTrainerOptions, 'args'>;
type Make = (common: Common, outputDir: string) => GRPOTrainer | RLOOTrainer;
const methods: readonly (readonly [string, Make])[] = [
  ['GRPO', (common, outputDir) => new GRPOTrainer({ ...common, args: { ...args, outputDir } })],
  [
    'RLOO',
    (common, outputDir) => new RLOOTrainer({ ...common, args: { ...args, beta: 0, outputDir } }),
  ],
];

async function outcome(trainer: GRPOTrainer | RLOOTrainer) {
  const weights: Record<string, number[]> = {};
  for (const [name, parameter] of trainer.model.root.namedParameters())
    weights[name] = Array.from(await parameter.tensor.data());
  const history = trainer.state.logHistory.map((entry) => {
    const {
      trainRuntime,
      trainSamplesPerSecond,
      trainStepsPerSecond,
      trainTokensPerSecond,
      ...rest
    } = entry as Record<string, number>;
    const { trainDataWaitMs, ...kept } = rest;
    return kept;
  });
  return { weights, history, completions: trainer.completions };
}

test.each(methods)(
  '%s: a run that dies in a rollout goes on to the same bits, rollouts included',
  async (_, make) => {
    const common = async (rewardFuncs: RewardFunction): Promise<Common> => ({
      // A checkpoint holds float32, so does this backend.
      model: await loaded(await float32Attune()),
      trainDataset: rows,
      rewardFuncs,
    });
    const whole = make(await common(high), await folder());
    await whole.train();
    const outputDir = await folder();
    let calls = 0;
    const failing: RewardFunction = (input) => {
      if (++calls === 3) throw new Error('out of memory');
      return high(input);
    };
    Object.defineProperty(failing, 'name', { value: 'high' }); // a resumed run has the same rewards
    const dying = make(await common(failing), outputDir);
    await expect(dying.train()).rejects.toThrow(/REWARD_FAILED/);
    expect(dying.state.globalStep).toBe(8);
    const resumed = make(await common(high), outputDir);
    await resumed.train({ resumeFromCheckpoint: true });
    const [a, b] = [await outcome(whole), await outcome(resumed)];
    expect(b.weights).toEqual(a.weights);
    expect(b.completions).toEqual(a.completions);
    expect(b.history).toEqual(a.history);
    for (const trainer of [whole, dying, resumed]) await trainer.model.attune.dispose();
  },
);

test('a run with other rewards, sampling or coefficients does not go on from a checkpoint', async () => {
  await using attune = await reference();
  const outputDir = await folder();
  const made = async (changes: object, rewardFuncs = high) =>
    new GRPOTrainer({
      model: await loaded(attune),
      trainDataset: rows,
      rewardFuncs,
      args: { ...args, maxSteps: 4, outputDir, ...changes },
    });
  await (await made({})).train();
  for (const changes of [
    { temperature: 0.5 },
    { epsilon: 0.1 },
    { lossType: 'grpo' },
    { numIterations: 1 },
  ])
    await expect(
      (await made({ maxSteps: 8, ...changes })).train({ resumeFromCheckpoint: true }),
    ).rejects.toThrow(/CHECKPOINT_MISMATCH/);
  const other: RewardFunction = ({ completions }) => completions.map(() => 1);
  await expect(
    (await made({ maxSteps: 8 }, other)).train({ resumeFromCheckpoint: true }),
  ).rejects.toThrow(/CHECKPOINT_MISMATCH.*rewards/);
});

test('100 updates take no more memory than 10', async () => {
  await using attune = await reference();
  const { engine, backend } = attune;
  const seen: { tensors: number; bytes: number }[] = [];
  const trainer = new GRPOTrainer({
    model: await loaded(attune),
    trainDataset: rows,
    rewardFuncs: high,
    args: {
      outputDir: await folder(),
      perDeviceTrainBatchSize: 8,
      numGenerations: 4,
      maxCompletionLength: 6,
      beta: 0,
      maxSteps: 100,
      loggingSteps: 10,
      saveStrategy: 'no',
    },
  });
  trainer.on('log', () =>
    seen.push({ tensors: engine.liveTensors, bytes: backend.stats.liveBytes }),
  );
  await trainer.train();
  const [first, ...later] = seen.slice(0, 10);
  expect(later).toHaveLength(9);
  for (const { tensors, bytes } of later) {
    expect(tensors).toBe(first!.tensors);
    expect(bytes).toBe(first!.bytes);
  }
});

test('completions are drawn by the generator with the options of the arguments', async () => {
  await using attune = await reference();
  const model = await loaded(attune);
  const asked: GenerateOptions[] = [];
  const { generate } = model;
  model.generate = (options) => {
    asked.push(options);
    return generate.call(model, options);
  };
  const trainer = new GRPOTrainer({
    model,
    trainDataset: rows,
    rewardFuncs: high,
    args: {
      ...args,
      outputDir: await folder(),
      maxSteps: 8,
      saveStrategy: 'no',
      temperature: 0.8,
      topP: 0.9,
      topK: 7,
      minP: 0.01,
      repetitionPenalty: 1.1,
      generationMicroBatch: 4,
      generationKwargs: { minNewTokens: 2 },
    },
  });
  await trainer.train();
  expect(asked).toHaveLength(2);
  expect(asked[0]).toMatchObject({
    doSample: true,
    maxNewTokens: 6,
    temperature: 0.8,
    topP: 0.9,
    topK: 7,
    minP: 0.01,
    repetitionPenalty: 1.1,
    batchSize: 4,
    minNewTokens: 2,
    eosTokenId: [2],
  });
  expect(asked[0]!.seed).not.toBe(asked[1]!.seed);
  expect(trainer.completions!.rows).toHaveLength(16);
});

test('the plan counts rollouts and the step of completions: no run takes more', async () => {
  await using attune = await float32Attune();
  const { stats } = attune.backend;
  const trainer = new GRPOTrainer({
    model: await loaded(attune),
    trainDataset: rows,
    rewardFuncs: high,
    args: {
      ...args,
      outputDir: await folder(),
      maxCompletionLength: 20,
      maxSteps: 8,
      saveStrategy: 'no',
    },
  });
  const { phases, batch, peakBytes } = await trainer.planMemory();
  expect(phases.map(({ name }) => name)).toEqual(['optimizer', 'step', 'generate']);
  expect(batch.inputIds![0]).toBe(4);
  expect(batch.old).toEqual(batch.mask);
  stats.peakBytes = stats.liveBytes;
  await trainer.train();
  expect(stats.peakBytes).toBeLessThanOrEqual(peakBytes);
  expect(stats.peakBytes).toBeGreaterThan(0.9 * peakBytes);
});

test('an evaluation draws completions of its own and logs them apart', async () => {
  await using attune = await reference();
  const trainer = new GRPOTrainer({
    model: await loaded(attune),
    trainDataset: rows,
    evalDataset: rows,
    rewardFuncs: high,
    args: {
      ...args,
      outputDir: await folder(),
      numGenerationsEval: 2,
      perDeviceEvalBatchSize: 4,
      saveStrategy: 'no',
    },
  });
  const metrics = await trainer.evaluate();
  expect(metrics.evalReward).toBeGreaterThan(0);
  expect(metrics['eval_completions/mean_length']).toBeGreaterThan(0);
  expect(await trainer.evaluate()).toMatchObject({ evalReward: metrics.evalReward });
  expect(trainer.completions).toBeNull();
});

test('conversations reach reward functions as messages', async () => {
  await using attune = await reference();
  const seen: unknown[] = [];
  const tokenizer = {
    eosToken: null,
    eosTokenId: 2,
    encode: (text: string) => Array.from(text, (c) => 3 + (c.charCodeAt(0) % 14)),
    decode: (ids: ArrayLike<number>) => Array.from(ids).join(' '),
    applyChatTemplate: (messages: readonly { content: unknown }[]) =>
      messages.map(({ content }) => String(content)).join('|'),
  } as never;
  const prompt = [{ role: 'user', content: 'hi' }];
  const trainer = new GRPOTrainer({
    model: await loaded(attune),
    tokenizer,
    trainDataset: Array.from({ length: 4 }, () => ({ prompt })),
    rewardFuncs: (input) => {
      seen.push(input);
      return input.completions.map(() => 0);
    },
    args: { ...args, outputDir: await folder(), maxSteps: 1, saveStrategy: 'no' },
  });
  await trainer.train();
  const [{ prompts, completions, completionIds }] = seen as [
    { prompts: object[]; completions: object[]; completionIds: number[][] },
  ];
  expect(prompts[0]).toEqual(prompt);
  expect(completions[0]).toEqual([{ role: 'assistant', content: completionIds[0]!.join(' ') }]);
});

test('logCompletions shows texts with rewards and advantages at each log', async () => {
  const lines: string[] = [];
  const logger = { ...silentLogger, info: (line: string) => lines.push(line) };
  await using attune = await createAttune({ backend: 'reference', logger });
  const half: RewardFunction = ({ completions }) => completions.map((_, n) => (n % 2 ? 0.5 : null));
  const trainer = new GRPOTrainer({
    model: await loaded(attune),
    trainDataset: rows,
    rewardFuncs: half,
    args: {
      ...args,
      outputDir: await folder(),
      maxSteps: 2,
      saveStrategy: 'no',
      logCompletions: true,
      numCompletionsToPrint: 2,
    },
  });
  await trainer.train();
  const shown = lines.filter((line) => line.startsWith('completions of update 1:'));
  expect(shown.length).toBeGreaterThan(0);
  expect(shown[0]).toContain('half none, advantage 0');
  expect(shown[0]).toContain('half 0.5, advantage 0');
  expect(shown[0]).toContain('and 14 more');
});
