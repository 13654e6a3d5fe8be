import {
  createAttune,
  defineOptimizer,
  definePlugin,
  Optimizers,
  SFTTrainer,
  type SftArgumentsInput,
  type SftTrainerOptions,
  silentLogger,
} from '@attune/core';
import { AdamW, decayGroups, Lion } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  backendPlugin,
  Float32Backend,
  float32Attune,
  idRows,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

interface RunOptions {
  readonly args: SftArgumentsInput;
  readonly stopAt?: number;
  readonly resume?: boolean;
  readonly optimizers?: SftTrainerOptions['optimizers'];
  /**
   * Changes of the config: 512 x 8 of a larger embedding are the 4096 numbers from which states
   * have 8 bits.
   */
  readonly changes?: object;
}

/** A run in an Attune of its own, as after a restart of the process. */
async function run({ args, stopAt, resume = false, optimizers, changes = {} }: RunOptions) {
  await using attune = await float32Attune();
  const model = await minuteLlama(attune, 3, changes);
  const controller = new AbortController();
  const losses: number[] = [];
  const rates: number[] = [];
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(6),
    evalDataset: idRows(3),
    optimizers,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 6,
      learningRate: 0.01,
      weightDecay: 0.1,
      loggingSteps: 1,
      saveSteps: 2,
      maxSteps: 5,
      ...args,
    },
  });
  trainer.on('log', ({ logs }) => {
    losses.push(logs.loss);
    rates.push(logs.learningRate);
  });
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  await trainer.train({ resumeFromCheckpoint: resume, signal: controller.signal });
  return { losses, rates, weights: await weightsOf(model) };
}

describe('optim', () => {
  for (const [optim, optimArgs] of [
    ['adamw_torch', ''],
    ['sgd', 'momentum=0.9, nesterov=true'],
    ['lion_32bit', ''],
    ['adafactor', { beta1: 0.9 }],
    ['adamw_8bit', ''],
  ] as const)
    test(`${optim}: learns, and a resumed run is bit for bit the uninterrupted one`, async () => {
      const learningRate = optim === 'sgd' ? 0.1 : 0.005;
      const args = { optim, optimArgs, learningRate };
      const changes = optim === 'adamw_8bit' ? { vocab_size: 512 } : {};
      const whole = await run({ args, changes });
      expect(whole.losses.at(-1)).toBeLessThan(whole.losses[0]!);
      const outputDir = await temporaryFolder();
      await run({ args: { ...args, outputDir }, changes, stopAt: 2 });
      const resumed = await run({ args: { ...args, outputDir }, changes, resume: true });
      expect(resumed.weights).toEqual(whole.weights);
    });

  test('an unknown name and unknown options are errors when the trainer is made', async () => {
    await expect(run({ args: { optim: 'adamv_torch' } })).rejects.toThrow(
      /UNKNOWN_NAME: unknown optimizer "adamv_torch".*Did you mean "adamw_torch"/s,
    );
    const sgd = (optimArgs: string | Record<string, number>) =>
      run({ args: { optim: 'sgd', optimArgs } });
    await expect(sgd('momentun=0.9')).rejects.toThrow(/UNKNOWN_OPTION.*momentun.*momentum/s);
    await expect(sgd('momentum')).rejects.toThrow(/ARGUMENTS_INVALID.*"momentum"/s);
    await expect(sgd({ momentum: 2 })).rejects.toThrow(/momentum is 2/);
  });

  test('another optimizer does not take over a checkpoint', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { outputDir }, stopAt: 2 });
    await expect(run({ args: { outputDir, optim: 'lion' }, resume: true })).resolves.toBeDefined();
    await expect(run({ args: { outputDir, optim: 'adafactor' }, resume: true })).rejects.toThrow(
      /OPTIMIZER_STATE/,
    );
  });

  test('a plugin adds one under a name of its own', async () => {
    const plugin = definePlugin({
      name: 'half',
      version: '1',
      apiVersion: 1,
      register: (context) =>
        context.add(
          Optimizers,
          defineOptimizer({
            name: 'half_lion',
            options: z.strictObject({ share: z.number().default(0.5) }),
            create: (engine, groups, { adamBeta1 }, { share }) =>
              new Lion(
                engine,
                groups.map((group) => ({ ...group, lrScale: share })),
                { beta1: adamBeta1 },
              ),
          }),
        ),
    });
    await using attune = await createAttune({
      plugins: [plugin, backendPlugin('float32', () => new Float32Backend())],
      logger: silentLogger,
    });
    const trainer = new SFTTrainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(4),
      args: { optim: 'half_lion', optimArgs: { share: 0.25 }, maxSteps: 2, saveStrategy: 'no' },
    });
    expect((await trainer.train()).globalStep).toBe(2);
  });

  test('optimizers: [optimizer, schedule] of the caller', async () => {
    const args = { maxSteps: 4, lrSchedulerType: 'constant' } as const;
    const plain = await run({ args: { ...args, learningRate: 0.02 } });
    const own = await run({
      args: { ...args, learningRate: 0.01 },
      optimizers: [(engine, groups) => new AdamW(engine, groups), () => 2],
    });
    expect(own.rates).toEqual([0.02, 0.02, 0.02, 0.02]);
    expect(own.weights).toEqual(plain.weights);
    const schedule = await run({ args, optimizers: [null, (step) => step] });
    expect(schedule.rates).toEqual([0, 0.01, 0.02, 0.03]);
  });
});

describe('lrSchedulerType', () => {
  test('reduce_lr_on_plateau follows evaluation, and goes on where a checkpoint left it', async () => {
    const args = {
      lrSchedulerType: 'reduce_lr_on_plateau',
      // Nothing is an improvement of 10: from the second evaluation on the rate halves at every
      // other.
      lrSchedulerKwargs: { patience: 1, factor: 0.5, threshold: 10, threshold_mode: 'abs' },
      evalStrategy: 'steps',
      evalSteps: 1,
      maxSteps: 8,
    } as unknown as SftArgumentsInput;
    const whole = await run({ args });
    expect(whole.rates).toEqual(
      [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125].map((factor) => 0.01 * factor),
    );
    const outputDir = await temporaryFolder();
    await run({ args: { ...args, outputDir }, stopAt: 4 });
    const resumed = await run({ args: { ...args, outputDir }, resume: true });
    expect(resumed.rates).toEqual(whole.rates.slice(4));
    expect(resumed.weights).toEqual(whole.weights);
  });

  test('warmup_stable_decay', async () => {
    const args = {
      lrSchedulerType: 'warmup_stable_decay',
      lrSchedulerKwargs: { numDecaySteps: 2, decayType: 'linear' },
      warmupSteps: 1,
      maxSteps: 5,
    } as const;
    expect((await run({ args })).rates).toEqual([0, 0.01, 0.01, 0.01, 0.005]);
  });
});

test('decayGroups: a group for each factor of the learning rate', async () => {
  await using attune = await float32Attune();
  const model = await minuteLlama(attune);
  const groups = decayGroups(model.root, 0.1, (name) => (name.includes('q_proj') ? 16 : 1));
  expect(groups.map(({ weightDecay, lrScale }) => [weightDecay, lrScale])).toEqual([
    [0.1, undefined],
    [0, undefined],
    [0.1, 16],
  ]);
  expect(groups[2]!.parameters.map((p) => p.name)).toEqual([
    'model.layers.0.self_attn.q_proj.weight',
  ]);
});
