import {
  causalLmRows,
  createAttune,
  IterableDataset,
  type Row,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { firstExamples, packExamples } from '@attune/core/text';
import { expect, test } from 'vitest';
import { prepareRows } from '../../src/trainer/rows/prepareRows.js';
import { ListLogger, minuteLlama, temporaryFolder } from './support.js';

const rowsOf = (...lengths: number[]) =>
  lengths.map((n, i) => ({
    input_ids: Array.from({ length: n }, (_, t) => (i * 7 + t * 3) % 17),
  }));
const rows = rowsOf(3, 9, 30, 1, 12, 20, 8, 15, 4, 32);

interface Run {
  readonly args: object;
  readonly trainDataset?: readonly Row[];
}

async function trainerOf({ args, trainDataset = rows }: Run, logger = silentLogger) {
  const attune = await createAttune({ backend: 'reference', logger });
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune, 3),
    trainDataset,
    args: {
      outputDir: await temporaryFolder(),
      saveStrategy: 'no',
      shuffle: false,
      maxLength: 32,
      loggingSteps: 1,
      ...args,
    },
  });
  return { attune, trainer };
}

async function run(options: Run) {
  const { attune, trainer } = await trainerOf(options);
  await trainer.train();
  const evaluation = await trainer.evaluate(rows);
  await attune.dispose();
  const [first] = trainer.state.logHistory;
  return { first: first as unknown as { loss: number; gradNorm: number }, trainer, evaluation };
}

test('one update over all rows is the same packed, in whatever micro-batches', async () => {
  const whole = { maxSteps: 1, learningRate: 0 };
  const plain = await run({ args: { ...whole, perDeviceTrainBatchSize: rows.length } });
  for (const [perDeviceTrainBatchSize, gradientAccumulationSteps] of [
    [5, 1],
    [2, 3],
    [1, 5],
  ]) {
    const packed = await run({
      args: { ...whole, packing: true, perDeviceTrainBatchSize, gradientAccumulationSteps },
    });
    expect(Math.abs(packed.first.loss / plain.first.loss - 1)).toBeLessThan(1e-9);
    expect(Math.abs(packed.first.gradNorm / plain.first.gradNorm - 1)).toBeLessThan(1e-9);
    expect(packed.trainer.state.numInputTokensSeen).toBe(plain.trainer.state.numInputTokensSeen);
    expect(packed.trainer.state.maxSteps).toBe(1);
  }
});

test('fewer rows are fewer updates; evaluation does not change with packing', async () => {
  const args = { numTrainEpochs: 1, perDeviceTrainBatchSize: 1, learningRate: 0 };
  const plain = await run({ args });
  const packed = await run({ args: { ...args, packing: true } });
  const trainOnly = await run({ args: { ...args, packing: true, evalPacking: false } });
  expect(plain.trainer.state.globalStep).toBe(9); // the row of one token has nothing to learn
  expect(packed.trainer.state.globalStep).toBe(5); // 133 tokens in rows of 32
  for (const { evaluation } of [packed, trainOnly])
    expect(Math.abs(evaluation.evalLoss / plain.evaluation.evalLoss - 1)).toBeLessThan(1e-9);
});

test('bfd cuts off what is longer than a row and says so; bfd_split and wrapped go on in the next', async () => {
  const trainDataset = rowsOf(40, 20, 6);
  const tokens = async (packingStrategy: string) => {
    const logger = new ListLogger();
    const args = { numTrainEpochs: 1, packing: true, packingStrategy, maxLength: 16 };
    const { attune, trainer } = await trainerOf({ args, trainDataset }, logger);
    await trainer.train();
    await attune.dispose();
    return [trainer.state.numInputTokensSeen, logger.lines.filter((l) => l.startsWith('warn'))];
  };
  expect(await tokens('bfd')).toEqual([
    16 + 16 + 6,
    ['warn: 2 of 3 training rows: cut off after 16 tokens (first: training rows[0])'],
  ]);
  expect(await tokens('bfd_split')).toEqual([66, []]);
  expect(await tokens('wrapped')).toEqual([66, []]);
});

test('a packed row without a label is left out: a piece of a long prompt', async () => {
  const ids = Array.from({ length: 40 }, (_, t) => t % 17);
  const labels = ids.map((id, t) => (t < 20 ? -100 : id));
  const { attune, trainer } = await trainerOf({
    args: {
      packing: true,
      packingStrategy: 'bfd_split',
      maxLength: 16,
      perDeviceTrainBatchSize: 1,
      numTrainEpochs: 1,
    },
    trainDataset: [{ input_ids: ids, labels }],
  });
  await trainer.train();
  expect(trainer.state.globalStep).toBe(2); // of three pieces: 16 without a label, 16, 8
  await attune.dispose();
});

test('a run is resumed with the packing that it was begun with', async () => {
  const outputDir = await temporaryFolder();
  const args = { outputDir, maxSteps: 2, saveStrategy: 'steps', saveSteps: 1, packing: true };
  await run({ args });
  const resume = (more: object) =>
    run({ args: { ...args, maxSteps: 3, resumeFromCheckpoint: true, ...more } });
  await expect(resume({ packingStrategy: 'bfd_split' })).rejects.toThrow(
    /CHECKPOINT_MISMATCH: .*: packing was bfd of 32 tokens and is bfd_split of 32 tokens/,
  );
  await expect(resume({ packing: false })).rejects.toThrow(/packing was bfd .* and is none/);
  expect((await resume({})).trainer.state.globalStep).toBe(3);
});

test('windows of a thousand: a stream is packed as the same rows in memory', async () => {
  const attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const context = {
    use: 'training',
    title: 'training rows',
    model: await minuteLlama(attune),
    tokenizer: null,
    logger: silentLogger,
  } as const;
  const many = Array.from({ length: 2300 }, (_, i) => ({
    input_ids: Array.from({ length: 2 + ((i * 7) % 13) }, (_, t) => (i + t) % 17),
  }));
  const rows = causalLmRows({ maxLength: 16, packing: true });
  const whole = await prepareRows(many, rows, context);
  const stream = await prepareRows(
    IterableDataset.from(() => many),
    rows,
    context,
  );
  expect(await firstExamples(stream, 5000)).toEqual(await firstExamples(whole, 5000));
  expect(await firstExamples(whole, 5000)).toEqual([
    ...packExamples(
      await firstExamples(await prepareRows(many, causalLmRows({ maxLength: 16 }), context), 5000),
      16,
    ),
  ]);
  await attune.dispose();
});

test('a strategy that is not there is refused with those that are', async () => {
  await expect(trainerOf({ args: { packing: true, packingStrategy: 'ffd' } })).rejects.toThrow(
    /ARGUMENTS_INVALID: packingStrategy is "ffd": .*"bfd"\|"bfd_split"\|"wrapped"/,
  );
});
