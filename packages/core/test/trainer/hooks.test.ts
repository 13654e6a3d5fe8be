import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AttuneError,
  causalLmObjective,
  createAttune,
  defineCallback,
  ops,
  ProgressCallback,
  SFTTrainer,
  Trainer,
  type TrainerCallback,
  type TrainingArgumentsInput,
} from '@attune/core';
import type { EventName, Moment } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

const hooks = [
  'onInitEnd',
  'onTrainBegin',
  'onTrainEnd',
  'onEpochBegin',
  'onEpochEnd',
  'onStepBegin',
  'onSubstepEnd',
  'onPreOptimizerStep',
  'onOptimizerStep',
  'onStepEnd',
  'onEvaluate',
  'onPredict',
  'onSave',
  'onLog',
  'onPredictionStep',
] as const;
const eventOf = (hook: string) => `${hook[2]!.toLowerCase()}${hook.slice(3)}` as EventName;

test('every hook is called in its place, callbacks one after the other, then its event', async () => {
  const calls: string[] = [];
  const slow = (name: string, ms: number) =>
    Object.fromEntries([
      ['name', name],
      ...hooks.map((hook) => [
        hook,
        hook === 'onInitEnd'
          ? () => void calls.push(`${name} ${hook}`)
          : async () => {
              await new Promise((resolve) => setTimeout(resolve, ms));
              calls.push(`${name} ${hook}`);
            },
      ]),
    ]) as unknown as TrainerCallback;
  const attune = await float32Attune();
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune),
    trainDataset: idRows(4),
    evalDataset: idRows(3),
    callbacks: [slow('first', 3), slow('second', 0)],
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      perDeviceEvalBatchSize: 2,
      gradientAccumulationSteps: 2,
      maxSteps: 1,
      loggingSteps: 1,
      evalStrategy: 'steps',
      evalSteps: 1,
    },
  });
  for (const hook of hooks) trainer.on(eventOf(hook), () => calls.push(`event ${hook}`));
  await trainer.train();
  await trainer.predict(idRows(1));
  const order = [
    'onInitEnd',
    'onTrainBegin',
    'onEpochBegin',
    'onStepBegin',
    'onSubstepEnd',
    'onPreOptimizerStep',
    'onOptimizerStep',
    'onStepEnd',
    'onLog',
    'onPredictionStep',
    'onPredictionStep',
    'onLog',
    'onEvaluate',
    'onSave',
    'onEpochEnd',
    'onLog',
    'onTrainEnd',
    'onPredictionStep',
    'onPredict',
  ];
  const expected = order.flatMap((hook) => [`first ${hook}`, `second ${hook}`, `event ${hook}`]);
  // Rows of evaluations and the summary come as 'evaluate' and 'trainEnd'.
  let logs = 0;
  expect(calls).toEqual(expected.filter((call) => call !== 'event onLog' || logs++ === 0));
});

test('events say where the run stands and what happened', async () => {
  const attune = await float32Attune();
  const outputDir = await temporaryFolder();
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune),
    trainDataset: idRows(4),
    args: { outputDir, perDeviceTrainBatchSize: 2, maxSteps: 3, saveSteps: 2 },
  });
  const seen: unknown[] = [];
  for (const name of ['trainBegin', 'stepEnd', 'step', 'epochEnd', 'save', 'trainEnd'] as const)
    trainer.on(name, (event: Moment) => seen.push([name, event]));
  const { metrics } = await trainer.train();
  const at = (step: number) => ({ step, epoch: step / 2 });
  expect(seen).toEqual([
    ['trainBegin', { step: 0, epoch: 0, maxSteps: 3 }],
    ['stepEnd', at(1)],
    ['step', at(1)],
    ['stepEnd', at(2)],
    ['step', at(2)],
    ['save', { ...at(2), folder: join(outputDir, 'checkpoint-2') }],
    ['epochEnd', at(2)],
    ['stepEnd', at(3)],
    ['step', at(3)],
    ['save', { ...at(3), folder: join(outputDir, 'checkpoint-3') }],
    ['epochEnd', at(3)],
    ['trainEnd', { ...at(3), metrics }],
  ]);
});

test('callbacks are added, taken away and handed back by themselves, their name or their class', async () => {
  const attune = await createAttune({ backend: 'reference' });
  const calls: string[] = [];
  const named = (name: string) => defineCallback({ name, onStepEnd: () => void calls.push(name) });
  const [a, b, c] = ['a', 'b', 'c'].map(named) as [
    TrainerCallback,
    TrainerCallback,
    TrainerCallback,
  ];
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune),
    trainDataset: idRows(2),
    callbacks: [a],
    args: { maxSteps: 1, saveStrategy: 'no' },
  });
  trainer.addCallback(b);
  trainer.addCallback(c);
  trainer.addCallback('progress');
  expect(() => trainer.addCallback('progres')).toThrow(/UNKNOWN_NAME.*progres/);
  trainer.removeCallback('b');
  expect(trainer.popCallback(ProgressCallback)).toBeInstanceOf(ProgressCallback);
  expect(trainer.popCallback(ProgressCallback)).toBeNull();
  expect(trainer.popCallback(a)).toBe(a);
  await trainer.train();
  expect(calls).toEqual(['c']);
});

/** Dropout, so that a checkpoint must know how many masks had been drawn. */
const noisy = {
  ...causalLmObjective({ maxLength: 32 }),
  loss(model, { inputIds, labels }) {
    const hidden = model.hiddenStates({ inputIds: inputIds! });
    const dropped = model.root.training ? ops.dropout(hidden, 0.3) : hidden;
    const logits = model.head(dropped).reshape(labels!.size, -1);
    return { loss: ops.crossEntropy(logits, labels!.reshape(labels!.size)).sum() };
  },
} satisfies ReturnType<typeof causalLmObjective>;

const run = async (
  outputDir: string,
  args: TrainingArgumentsInput,
  callbacks: TrainerCallback[] = [],
) => {
  const logger = new ListLogger();
  const attune = await float32Attune(logger);
  const model = await minuteLlama(attune);
  const trainer = new Trainer({
    model,
    objective: noisy,
    trainDataset: idRows(9),
    evalDataset: idRows(2),
    callbacks,
    args: {
      outputDir,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      maxSteps: 5,
      saveStrategy: 'no',
      ...args,
    },
  });
  return { trainer, model, logger };
};

describe('a callback that throws', () => {
  const moments = [
    'onEpochBegin',
    'onStepBegin',
    'onSubstepEnd',
    'onPreOptimizerStep',
    'onOptimizerStep',
    'onStepEnd',
    'onLog',
    'onEvaluate',
    'onPredictionStep',
    'onEpochEnd',
    'onTrainEnd',
  ] as const;

  test.each(moments)(
    'in %s ends the run with its name and a checkpoint that resumes to the same bits',
    async (hook) => {
      const args = { loggingSteps: 2, evalStrategy: 'steps', evalSteps: 2 } as const;
      const whole = await run(await temporaryFolder(), args);
      await whole.trainer.train();
      const outputDir = await temporaryFolder();
      const fragile: TrainerCallback = {
        name: 'Fragile',
        [hook]: ({ state }: { state: { globalStep: number } }) => {
          if (state.globalStep >= 2) throw new Error('the disk of the metrics is full');
        },
      };
      const broken = await run(outputDir, args, [fragile]);
      const error = (await broken.trainer.train().catch((e: unknown) => e)) as AttuneError;
      expect(error).toBeInstanceOf(AttuneError);
      expect(error.code).toBe('CALLBACK_FAILED');
      expect(error.message).toContain(`callback "Fragile" failed in ${hook}`);
      expect(error.message).toContain('the disk of the metrics is full');
      const [folder] = await readdir(outputDir);
      expect(error.message).toContain(`saved in ${join(outputDir, folder!)}`);
      expect(error.details).toMatchObject({ callback: 'Fragile', hook });
      expect(error.remedy).toContain(`resumeFromCheckpoint: "${join(outputDir, folder!)}"`);

      const resumed = await run(outputDir, { ...args, resumeFromCheckpoint: true });
      await resumed.trainer.train();
      expect(await weightsOf(resumed.model)).toEqual(await weightsOf(whole.model));
    },
  );

  test('before the first update has nothing to save, and says so', async () => {
    const outputDir = await temporaryFolder();
    const early = { onTrainBegin: () => Promise.reject(new Error('no')) };
    const { trainer } = await run(outputDir, {}, [early]);
    await expect(trainer.train()).rejects.toThrow(
      /CALLBACK_FAILED: callback "Object".*Nothing had/,
    );
    expect(await readdir(outputDir)).toEqual([]);
  });

  test('keeps the remedy of an error that has one', async () => {
    const stop = () => {
      throw new AttuneError('MINE', 'bad.', { remedy: 'Do good.' });
    };
    const { trainer } = await run(await temporaryFolder(), {}, [
      { onInitEnd() {}, onStepEnd: stop },
    ]);
    await expect(trainer.train()).rejects.toThrow(/MINE: bad\.[\s\S]*Do good\./);
  });
});

describe('a run that is stopped', () => {
  test('by an AbortSignal ends after the update, saves and says so', async () => {
    const outputDir = await temporaryFolder();
    const { trainer, logger } = await run(outputDir, { saveStrategy: 'steps', saveSteps: 100 });
    const controller = new AbortController();
    trainer.on('stepBegin', ({ step }) => step === 2 && controller.abort());
    const output = await trainer.train({ signal: controller.signal });
    expect(output).toMatchObject({ globalStep: 3, stoppedBy: 'abort' });
    expect(await readdir(outputDir)).toEqual(['checkpoint-3']);
    expect(logger.lines.join()).toMatch(
      /stopped by abort after update 3 of 5; go on with .*checkpoint-3/,
    );
  });

  test('by a signal that was there before does nothing', async () => {
    const { trainer } = await run(await temporaryFolder(), {});
    const output = await trainer.train({ signal: AbortSignal.abort() });
    expect(output).toMatchObject({ globalStep: 0, stoppedBy: 'abort' });
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s does the same, and takes its handlers away',
    async (name) => {
      const before = process.listenerCount(name);
      const outputDir = await temporaryFolder();
      const { trainer, logger } = await run(outputDir, {});
      const during: number[] = [];
      trainer.on('stepBegin', ({ step }) => {
        during.push(process.listenerCount(name));
        if (step === 1) process.emit(name, name);
      });
      const output = await trainer.train();
      expect(output).toMatchObject({ globalStep: 2, stoppedBy: name });
      expect(await readdir(outputDir)).toEqual(['checkpoint-2']);
      expect(during).toEqual([before + 1, before + 1]);
      expect(process.listenerCount(name)).toBe(before);
      expect(logger.lines.join()).toContain('Once more ends the process at once');
    },
  );

  test('handleSignals: false leaves the signals to others', async () => {
    const before = process.listenerCount('SIGINT');
    const { trainer } = await run(await temporaryFolder(), { maxSteps: 1 });
    let during = -1;
    trainer.on('stepEnd', () => {
      during = process.listenerCount('SIGINT');
    });
    expect((await trainer.train({ handleSignals: false })).stoppedBy).toBeNull();
    expect(during).toBe(before);
  });

  test('by a callback says so', async () => {
    const { trainer } = await run(await temporaryFolder(), {}, [
      defineCallback({
        onStepEnd: ({ control }) => {
          control.shouldTrainingStop = true;
        },
      }),
    ]);
    expect(await trainer.train()).toMatchObject({ globalStep: 1, stoppedBy: 'callback' });
  });
});
