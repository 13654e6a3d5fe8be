import { SFTTrainer, type SftTrainerOptions } from '@attune/core';
import {
  AdamW,
  AdamW8bit,
  adamwRule,
  everywhere,
  PagedAdamW8bit,
  PagedOptimizer,
} from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from '../trainer/support.js';

type OptimizerFactory = NonNullable<SftTrainerOptions['optimizers']>[0];

interface RunOptions {
  readonly args?: object;
  readonly optimizers?: SftTrainerOptions['optimizers'];
}

/** A run in an Attune of its own. */
async function run({ args, optimizers }: RunOptions) {
  await using attune = await float32Attune();
  const model = await minuteLlama(attune, 3, { vocab_size: 40 });
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(6),
    optimizers,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 6,
      learningRate: 0.01,
      weightDecay: 0.1,
      loggingSteps: 100,
      saveStrategy: 'no',
      maxSteps: 4,
      ...args,
    },
  });
  const plan = await trainer.planMemory();
  const { stats } = attune.backend;
  stats.peakBytes = stats.liveBytes;
  const readbacks = stats.readbacks;
  const { trainingLoss } = await trainer.train();
  return {
    trainingLoss,
    weights: await weightsOf(model),
    plan,
    peakBytes: stats.peakBytes,
    readbacks: stats.readbacks - readbacks - Object.keys(await weightsOf(model)).length,
  };
}

describe('paged optimizers', () => {
  test.each([
    ['adamw_torch', 'paged_adamw_32bit'],
    ['adamw_torch', 'paged_adamw'],
    ['lion_32bit', 'paged_lion_32bit'],
    ['adamw_bnb_8bit', 'paged_adamw_8bit'],
  ])(
    '%s and %s: the same weights bit for bit, the state not on the device',
    async (plain, paged) => {
      const whole = await run({ args: { optim: plain } });
      const other = await run({ args: { optim: paged } });
      expect(other.weights).toEqual(whole.weights);
      expect(other.trainingLoss).toBe(whole.trainingLoss);
      for (const { plan, peakBytes } of [whole, other]) expect(plan.peakBytes).toBe(peakBytes);
    },
  );

  const adam = { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

  test.each([64, 192, 300])('pages of %d numbers: the same weights', async (page) => {
    const whole = await run({ optimizers: [(engine, groups) => new AdamW(engine, groups, adam)] });
    const paged = await run({
      optimizers: [
        (engine, groups) => new PagedOptimizer(engine, groups, everywhere(adamwRule(adam)), page),
      ],
    });
    expect(paged.weights).toEqual(whole.weights);
    // Two moments of two pages.
    const pageBytes = 4 * Math.ceil(page / 64) * 64;
    const small = paged.plan.bytesOf('optimizer');
    expect(small).toBeGreaterThanOrEqual(2 * 2 * pageBytes);
    expect(small).toBeLessThan(whole.plan.bytesOf('optimizer'));
    expect(paged.peakBytes).toBe(paged.plan.peakBytes);
  });

  test.each([256, 600])('8-bit states in pages of %d numbers: the same weights', async (page) => {
    const options = { ...adam, min8bitSize: 256 };
    const whole = await run({
      optimizers: [(engine, groups) => new AdamW8bit(engine, groups, options)],
    });
    const paged = await run({
      optimizers: [(engine, groups) => new PagedAdamW8bit(engine, groups, options, page)],
    });
    expect(paged.weights).toEqual(whole.weights);
    expect(paged.weights).not.toEqual((await run({})).weights);
    expect(paged.peakBytes).toBe(paged.plan.peakBytes);
    expect(paged.plan.bytesOf('optimizer')).toBeLessThan(whole.plan.bytesOf('optimizer'));
  });

  test('reads back each page of each state once in an update, and nothing else', async () => {
    const count = async (optim: string, maxSteps: number) =>
      (await run({ args: { optim, maxSteps } })).readbacks;
    const perUpdate = async (optim: string) =>
      ((await count(optim, 5)) - (await count(optim, 2))) / 3;
    // Weights with decay and without lie in two arenas, of a page each.
    expect(await perUpdate('paged_lion')).toBe(2);
    expect(await perUpdate('paged_adamw')).toBe(4);
    expect(await perUpdate('adamw_torch')).toBe(0);
  });

  test('a checkpoint of one goes on with the other, with 8-bit states too', async () => {
    const options = { ...adam, min8bitSize: 256 };
    const plain: OptimizerFactory = (engine, groups) => new AdamW8bit(engine, groups, options);
    const paged: OptimizerFactory = (engine, groups) =>
      new PagedAdamW8bit(engine, groups, options, 512);
    const args = { lrSchedulerType: 'constant', saveStrategy: 'steps', saveSteps: 2 };
    const whole = await run({ args: { ...args, saveSteps: 100 }, optimizers: [plain, null] });
    for (const [first, second] of [
      [plain, paged],
      [paged, plain],
    ] as const) {
      const own = { ...args, outputDir: await temporaryFolder() };
      await run({ args: { ...own, maxSteps: 2 }, optimizers: [first, null] });
      const resumed = { ...own, resumeFromCheckpoint: true, saveSteps: 100 };
      expect((await run({ args: resumed, optimizers: [second, null] })).weights).toEqual(
        whole.weights,
      );
    }
  });

  test('a checkpoint of one goes on with the other', async () => {
    const outputDir = await temporaryFolder();
    const whole = await run({ args: { optim: 'adamw_torch', maxSteps: 4 } });
    await run({
      args: {
        optim: 'paged_adamw',
        maxSteps: 2,
        saveStrategy: 'steps',
        saveSteps: 2,
        outputDir,
        lrSchedulerType: 'constant',
      },
    });
    const constant = await run({ args: { maxSteps: 4, lrSchedulerType: 'constant' } });
    for (const optim of ['adamw_torch', 'paged_adamw']) {
      const resumed = await run({
        args: {
          optim,
          maxSteps: 4,
          outputDir,
          lrSchedulerType: 'constant',
          resumeFromCheckpoint: true,
        },
      });
      expect(resumed.weights).toEqual(constant.weights);
    }
    expect(whole.weights).not.toEqual(constant.weights);
  });
});
