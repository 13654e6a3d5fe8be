import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AttuneError,
  causalLmObjective,
  type Objective,
  type TokenExample,
  Trainer,
  type TrainingArgumentsInput,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

/** A row that ends with this id has a loss that is not finite. */
const POISON = 16;
const base = causalLmObjective({ maxLength: 32 });

/** @param how "loss": only the loss is infinite; "gradient": what comes back from it too */
const poisoned = (how: 'loss' | 'gradient'): Objective<TokenExample> => ({
  ...base,
  collate: (examples) => ({
    ...base.collate(examples),
    extra: {
      data: Float32Array.of(
        examples.some(({ inputIds }) => inputIds[inputIds.length - 1] === POISON)
          ? Number.POSITIVE_INFINITY
          : 0,
      ),
      shape: [1],
      dtype: 'float32',
    },
  }),
  loss(model, batch) {
    const { loss } = base.loss(model, batch);
    const { extra } = batch;
    return { loss: how === 'loss' ? loss.add(extra!) : loss.mul(extra!.add(1)) };
  },
});

const clean = idRows(10).map(({ input_ids }) => ({ input_ids: [...input_ids, 3] }));
const bad = { input_ids: [4, 5, POISON] };
/** The clean rows with a bad one as the n-th. */
const withBad = (...places: number[]) => {
  const rows = [...clean];
  for (const place of places) rows.splice(place - 1, 0, bad);
  return rows;
};

interface RunOptions {
  readonly rows?: { input_ids: number[] }[];
  readonly args?: TrainingArgumentsInput;
  readonly how?: 'loss' | 'gradient';
  readonly stopAt?: number;
  /** After this update a weight is NaN. */
  readonly breakAt?: number;
  readonly resume?: boolean;
}

/** A row an update, in order, at a constant rate. */
async function run(options: RunOptions) {
  const { rows = clean, args = {}, how = 'gradient', stopAt, breakAt, resume } = options;
  const logger = new ListLogger();
  await using attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3);
  const outputDir = args.outputDir ?? (await temporaryFolder());
  const controller = new AbortController();
  const trainer = new Trainer({
    model,
    objective: poisoned(how),
    trainDataset: rows,
    callbacks: [
      {
        async onStepEnd({ state }) {
          if (state.globalStep !== breakAt) return;
          const norm = new Map(model.root.namedParameters()).get('model.norm.weight')!;
          norm.write((await norm.tensor.data()).map((v, i) => (i === 5 ? Number.NaN : v)));
        },
      },
    ],
    args: {
      perDeviceTrainBatchSize: 1,
      shuffle: false,
      learningRate: 0.01,
      lrSchedulerType: 'constant',
      loggingSteps: 5,
      saveSteps: 2,
      maxSteps: 6,
      ...args,
      outputDir,
    },
  });
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  const error = await trainer
    .train({ resumeFromCheckpoint: resume ?? false, signal: controller.signal })
    .then(
      () => null,
      (thrown: unknown) => thrown as AttuneError,
    );
  return { error, logger, outputDir, state: trainer.state, weights: await weightsOf(model) };
}

describe('row 21: nonFinite', () => {
  test('skip: the update changes nothing and is named; the others are averaged without it', async () => {
    for (const how of ['loss', 'gradient'] as const) {
      const { error, logger, state, weights } = await run({
        rows: withBad(1),
        args: { maxSteps: 1, saveStrategy: 'no' },
        how,
      });
      expect(error).toBeNull();
      expect(state.skippedSteps).toBe(1);
      await using attune = await float32Attune();
      expect(weights).toEqual(await weightsOf(await minuteLlama(attune, 3)));
      const more = await run({ rows: withBad(2, 4), how });
      expect(more.logger.lines.join()).toMatch(/updates 2, 4: loss or gradient was not finite/);
      for (const { loss } of more.state.logHistory.filter((row) => 'loss' in row))
        expect(Number.isFinite(loss)).toBe(true);
      expect(logger.lines.join()).not.toMatch(/NaN/);
    }
  });

  test('stop: names the update, keeps the checkpoint, changes nothing after it', async () => {
    for (const how of ['loss', 'gradient'] as const) {
      const { error, outputDir, weights } = await run({
        rows: withBad(3),
        args: { nonFinite: 'stop' },
        how,
      });
      expect(AttuneError.isInstance(error)).toBe(true);
      expect(error!.code).toBe('NON_FINITE');
      expect(error!.message).toMatch(/update 3: its loss is (Infinity|NaN).*after update 2/);
      expect(error!.message).toContain(join(outputDir, 'checkpoint-2'));
      expect(error!.details).toMatchObject({
        step: 3,
        checkpoint: join(outputDir, 'checkpoint-2'),
      });
      // Found before checkpoint-4 would have been written.
      expect(existsSync(join(outputDir, 'checkpoint-4'))).toBe(false);
      expect(weights).toEqual((await run({ args: { maxSteps: 2 } })).weights);
    }
  });

  test('stop: found at the end when nothing else asked', async () => {
    const args = { nonFinite: 'stop', loggingSteps: 100, saveStrategy: 'no' } as const;
    const { error } = await run({ rows: withBad(2), args });
    expect(error!.message).toMatch(/update 2: .*No checkpoint had been written/);
  });

  test('rollback: the run is that over the rows without the bad one, also across a resume', async () => {
    const args = { nonFinite: 'rollback' } as const;
    const expected = await run({});
    const whole = await run({ rows: withBad(3), args });
    expect(whole.error).toBeNull();
    expect(whole.weights).toEqual(expected.weights);
    expect(whole.state.globalStep).toBe(6);
    expect(whole.logger.lines.join()).toMatch(/update 3: .*goes back to .*checkpoint-2/);
    const outputDir = await temporaryFolder();
    await run({ rows: withBad(3), args: { ...args, outputDir }, stopAt: 5 });
    const resumed = await run({ rows: withBad(3), args: { ...args, outputDir }, resume: true });
    expect(resumed.weights).toEqual(expected.weights);
  });

  test('rollback: rows since the checkpoint are passed over; before the first there is checkpoint-0', async () => {
    const args = { nonFinite: 'rollback', saveSteps: 4 } as const;
    // Updates 1 and 2 are undone with the third: the run starts again with the fourth row.
    const { weights, logger } = await run({ rows: withBad(3), args });
    expect(logger.lines.join()).toMatch(/checkpoint-0/);
    expect(weights).toEqual((await run({ rows: clean.slice(2) })).weights);
  });

  test('rollback: when other rows do not help, the run stops', async () => {
    const { error, logger } = await run({
      rows: Array.from({ length: 10 }, () => bad),
      args: { nonFinite: 'rollback', maxSteps: 8 },
    });
    expect(error!.code).toBe('NON_FINITE');
    expect(logger.lines.filter((line) => /goes back to/.test(line))).toHaveLength(3);
  });

  test('skip: five in a row end the run, whether a log, a save or the end sees them first', async () => {
    const rows = withBad(3, 4, 5, 6, 7);
    for (const args of [
      { loggingSteps: 1, saveStrategy: 'no' },
      { loggingSteps: 100, saveSteps: 8 },
      { loggingSteps: 100, saveStrategy: 'no' },
    ] as const) {
      const { error, weights } = await run({ rows, args: { ...args, maxSteps: 9 } });
      expect(error!.code).toBe('NON_FINITE');
      expect(error!.message).toMatch(
        /updates 3 to 7 were skipped, 5 in a row: .* parameters are those of update 2\..*\n.*Likely causes: .*learningRate/s,
      );
      if (args.loggingSteps === 1)
        expect(weights).toEqual((await run({ args: { maxSteps: 2 } })).weights);
    }
  });

  test('skip: four in a row do not, also across a resume', async () => {
    const rows = withBad(3, 4, 5, 6, 8);
    const outputDir = await temporaryFolder();
    const args = { maxSteps: 9, saveSteps: 1, outputDir };
    expect((await run({ rows, args, stopAt: 4 })).error).toBeNull();
    expect((await run({ rows, args, resume: true })).error).toBeNull();
    const five = { ...args, outputDir: await temporaryFolder() };
    await run({ rows: withBad(3, 4, 5, 6, 7), args: five, stopAt: 5 });
    const { error } = await run({ rows: withBad(3, 4, 5, 6, 7), args: five, resume: true });
    expect(error!.message).toMatch(/updates 3 to 7 were skipped/);
  });

  test('weights that are not finite are not saved', async () => {
    const outputDir = await temporaryFolder();
    const { error } = await run({
      args: { outputDir, saveSteps: 2, maxSteps: 4 },
      breakAt: 3,
    });
    expect(error!.code).toBe('WEIGHTS_NON_FINITE');
    expect(error!.message).toMatch(
      /tensor "model.norm.weight" \[8\] is not finite .* at element 5; .*The checkpoint .*checkpoint-2 is intact/s,
    );
    expect((await readdir(outputDir)).sort()).toEqual(['checkpoint-2']);
  });

  test('rollback needs whole checkpoints', async () => {
    await expect(run({ args: { nonFinite: 'rollback', saveOnlyModel: true } })).rejects.toThrow(
      /ARGUMENTS_INVALID.*saveOnlyModel/s,
    );
  });

  test('an overflow under fp16 is the loss scaler’s affair, an infinite loss is not', async () => {
    const args = { nonFinite: 'stop', fp16: true } as const;
    expect((await run({ rows: withBad(3), args, how: 'loss' })).error!.message).toMatch(/update 3/);
    const plain = await run({ args });
    expect(plain.error).toBeNull();
  });
});
