import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { IterableDataset, SFTTrainer, type TrainOptions } from '@attune/core';
import type { LogEntry } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

interface Run extends TrainOptions {
  readonly trainDataset: ConstructorParameters<typeof SFTTrainer>[0]['trainDataset'];
  readonly args: object;
  readonly stopAt?: number;
}

/** A run in an Attune of its own, as after a restart of the process. */
async function run({ trainDataset, args, stopAt, ...options }: Run) {
  const logger = new ListLogger();
  await using attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3);
  const controller = new AbortController();
  const trainer = new SFTTrainer({
    model,
    trainDataset,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      loggingSteps: 1,
      maxLength: 16,
      seed: 5,
      ...args,
    },
  });
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  const output = await trainer.train({ ...options, signal: controller.signal });
  return { output, weights: await weightsOf(model), state: trainer.state, logger, trainer };
}

const timeless = (history: readonly LogEntry[]) =>
  history.map((row) =>
    Object.fromEntries(
      Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
    ),
  );
const losses = (history: readonly LogEntry[]) => history.map(({ loss }) => loss);

/** Rows of a stream, and how many have been read. */
function counted(rows: readonly object[]) {
  const read = { rows: 0, starts: 0 };
  const stream = IterableDataset.from(async function* () {
    read.starts++;
    for (const row of rows) {
      read.rows++;
      yield row;
    }
  }, 'stream');
  return { read, stream };
}

test.each([false, true])(
  'a stream trains as the same rows in memory, epoch after epoch (packing: %s)',
  async (packing) => {
    const args = { maxSteps: 8, shuffle: false, packing };
    const rows = idRows(11);
    const { stream, read } = counted(rows);
    const whole = await run({ trainDataset: rows, args });
    const streamed = await run({ trainDataset: stream, args });
    expect(streamed.weights).toEqual(whole.weights);
    expect(losses(streamed.state.logHistory)).toEqual(losses(whole.state.logHistory));
    expect(read.starts).toBeGreaterThan(2);
  },
);

test('reads only what it needs, and a few updates ahead', async () => {
  const { stream, read } = counted(idRows(200));
  await run({ trainDataset: stream, args: { maxSteps: 3, dataloaderPrefetchFactor: 2 } });
  expect(read.rows).toBeGreaterThanOrEqual(12);
  expect(read.rows).toBeLessThanOrEqual(4 * (3 + 2));
  expect(read.starts).toBe(1);
});

describe('resumes bit for bit', () => {
  test.each([false, true])('shuffled, across epochs (packing: %s)', async (packing) => {
    const stream = IterableDataset.from(() => idRows(11)).shuffle(3, { bufferSize: 4 });
    const args = { maxSteps: packing ? 6 : 9, packing, saveSteps: 1 };
    const whole = await run({ trainDataset: stream, args });
    // Within an epoch, at the end of one (3 updates, packed 1 or 2), in the next.
    for (const stopAt of packing ? [1, 2, 5] : [1, 3, 4, 8]) {
      const outputDir = await temporaryFolder();
      await run({ trainDataset: stream, args: { ...args, outputDir }, stopAt });
      const resumed = await run({
        trainDataset: stream,
        args: { ...args, outputDir },
        resumeFromCheckpoint: true,
      });
      expect(resumed.weights).toEqual(whole.weights);
      expect(timeless(resumed.state.logHistory)).toEqual(timeless(whole.state.logHistory));
    }
  });
});

test('the orders of epochs differ where the stream is shuffled, and only there', async () => {
  const args = { maxSteps: 6, learningRate: 0 };
  const rows = idRows(12);
  const plain = losses(
    (await run({ trainDataset: IterableDataset.from(() => rows), args })).state.logHistory,
  );
  expect(plain.slice(0, 3)).toEqual(plain.slice(3, 6));
  const shuffled = losses(
    (await run({ trainDataset: IterableDataset.from(() => rows).shuffle(), args })).state
      .logHistory,
  );
  expect(shuffled.slice(0, 3)).not.toEqual(shuffled.slice(3, 6));
});

test('evaluates a stream as the same rows in memory', async () => {
  const { trainer } = await run({ trainDataset: idRows(4), args: { maxSteps: 1 } });
  await using attune = await float32Attune();
  const fresh = new SFTTrainer({ model: await minuteLlama(attune, 3), args: trainer.args });
  const { evalLoss } = await fresh.evaluate(idRows(9));
  expect((await fresh.evaluate(counted(idRows(9)).stream)).evalLoss).toBe(evalLoss);
});

test('rows without anything to learn are left out, and noted once', async () => {
  const rows = idRows(6).flatMap((row) => [{ ...row, labels: row.input_ids.map(() => -100) }, row]);
  const { logger } = await run({
    trainDataset: counted(rows).stream,
    args: { maxSteps: 4, preflight: 'off' },
  });
  expect(logger.lines.filter((line) => line.startsWith('warn'))).toEqual([
    'warn: training rows: nothing to learn from: left out (first: stream[0]; not counted in a stream)',
  ]);
});

describe('what a stream cannot do is an error before the first step', () => {
  const failing = (args: object, rows: readonly object[] = idRows(5)) =>
    run({ trainDataset: counted(rows).stream, args });

  test('epochs: its length is not known', async () => {
    await expect(failing({ numTrainEpochs: 2 })).rejects.toThrow(
      /ARGUMENTS_INVALID: maxSteps is -1, but the training rows are a stream.*Set maxSteps/s,
    );
  });
  test('grouping by length', async () => {
    await expect(failing({ maxSteps: 2, groupByLength: true })).rejects.toThrow(
      /ARGUMENTS_INVALID: rows are to be grouped by length, but the training rows are a stream/,
    );
  });
  test('no rows, nothing to learn from, too few for a batch', async () => {
    await expect(failing({ maxSteps: 2 }, [])).rejects.toThrow(/NO_ROWS: the stream of training/);
    await expect(
      failing({ maxSteps: 2 }, [{ input_ids: [1, 2], labels: [-100, -100] }]),
    ).rejects.toThrow(/NO_ROWS: none of the 1 rows of the stream/);
    await expect(failing({ maxSteps: 2, dataloaderDropLast: true }, idRows(1))).rejects.toThrow(
      /NO_TRAINING_ROWS/,
    );
  });
});

test('an error of the rows saves what was learned, and stays what it is', async () => {
  const outputDir = await temporaryFolder();
  const args = { maxSteps: 20, saveStrategy: 'no', outputDir } as const;
  const gone = new Error('the server is gone');
  const failing = IterableDataset.from(function* () {
    yield* idRows(40);
    throw gone;
  });
  await expect(run({ trainDataset: failing, args })).rejects.toBe(gone);
  expect(await readdir(outputDir)).toEqual(['checkpoint-10']);
  await rm(join(outputDir, 'checkpoint-10'), { recursive: true });
  const rows = [...idRows(40), { prompt: 'half a row' }];
  await expect(run({ trainDataset: counted(rows).stream, args })).rejects.toThrow(
    /ROW_FORMAT: stream\[40\][\s\S]*What was learned is saved in .*checkpoint-10/,
  );
  const resumed = await run({
    trainDataset: counted([...idRows(40), ...idRows(8)]).stream,
    args: { ...args, maxSteps: 12 },
    resumeFromCheckpoint: true,
  });
  expect(resumed.state.globalStep).toBe(12);
});

test('a bad row ends the run at its place, named; the checkpoints before it stay', async () => {
  const outputDir = await temporaryFolder();
  const rows = [...idRows(40), { prompt: 'half a row' }];
  const args = { maxSteps: 20, saveSteps: 1, outputDir };
  await expect(run({ trainDataset: counted(rows).stream, args })).rejects.toThrow(
    /ROW_FORMAT: stream\[40\]/,
  );
  // 40 good rows are 10 updates.
  const resumed = await run({
    trainDataset: counted([...idRows(40), ...idRows(8)]).stream,
    args: { ...args, maxSteps: 12 },
    resumeFromCheckpoint: true,
  });
  expect(resumed.state.logHistory.filter((row) => row.loss !== undefined)).toHaveLength(12);
});
