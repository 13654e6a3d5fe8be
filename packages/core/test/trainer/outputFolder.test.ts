import files, { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { hostname } from 'node:os';
import { join } from 'node:path';
import {
  type AttuneError,
  causalLmObjective,
  lastCheckpoint,
  Trainer,
  type TrainerCallback,
  type TrainingArgumentsInput,
  type TrainOptions,
} from '@attune/core';
import { afterEach, describe, expect, test } from 'vitest';
import { FolderLock } from '../../src/io/folderLock.js';
import { checkSpace } from '../../src/trainer/run/outputProbe.js';
import { notFiles } from '../hostile/cases.js';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

const original = { ...files };
const restore = () => {
  Object.assign(files, original);
  syncBuiltinESMExports();
};
afterEach(restore);

/** From now on the system refuses: so many times, or until `restore`. */
function refuse(name: 'open' | 'writeFile', code: string, times = Number.POSITIVE_INFINITY): void {
  let left = times;
  files[name] = ((...args: unknown[]) => {
    if (left-- > 0)
      return Promise.reject(Object.assign(new Error(`${code}: ${name}`), { code, syscall: name }));
    return (original[name] as (...args: unknown[]) => unknown)(...args);
  }) as never;
  syncBuiltinESMExports();
}

interface RunOptions extends TrainOptions {
  readonly args: TrainingArgumentsInput;
  readonly stopAt?: number;
  readonly model?: object;
  readonly callbacks?: TrainerCallback[];
}

/** A run in an Attune of its own. */
async function run({ args, stopAt, model: changes = {}, callbacks = [], ...options }: RunOptions) {
  const logger = new ListLogger();
  await using attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3, changes);
  const controller = new AbortController();
  const trainer = new Trainer({
    model,
    objective: causalLmObjective({ maxLength: 32 }),
    trainDataset: idRows(8),
    callbacks,
    args: { perDeviceTrainBatchSize: 2, learningRate: 0.01, seed: 5, saveSteps: 1, ...args },
  });
  const steps: number[] = [];
  trainer.on('step', ({ step }) => {
    steps.push(step);
    if (step === stopAt) controller.abort();
  });
  const error = await trainer.train({ ...options, signal: controller.signal }).then(
    () => null,
    (failure: AttuneError) => failure,
  );
  return { error, steps, logger, weights: await weightsOf(model) };
}

const namesIn = async (folder: string) =>
  (await readdir(folder)).filter((name) => !name.startsWith('.')).sort();
const hiddenIn = async (folder: string) =>
  (await readdir(folder)).filter((name) => name.startsWith('.')).sort();

describe('a folder that another run has used', () => {
  test('rotation deletes nothing of the other run, nor what was just written', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { outputDir, maxSteps: 6, saveTotalLimit: 1 } });
    expect(await namesIn(outputDir)).toEqual(['checkpoint-6']);
    const { logger, error } = await run({ args: { outputDir, maxSteps: 3, saveTotalLimit: 1 } });
    expect(error).toBeNull();
    expect(await namesIn(outputDir)).toEqual(['checkpoint-3', 'checkpoint-6']);
    expect(logger.lines[0]).toMatch(/has checkpoints of other runs \(checkpoint-6\)\. They stay/);
  });

  test('true goes on with the run that was last, never with another', async () => {
    const outputDir = await temporaryFolder();
    const first = await run({ args: { outputDir, maxSteps: 6, saveTotalLimit: 1 } });
    await run({ args: { outputDir, maxSteps: 5, learningRate: 0.1 }, stopAt: 2 });
    const resumed = await run({ args: { outputDir, maxSteps: 5 }, resumeFromCheckpoint: true });
    expect(resumed.steps).toEqual([3, 4, 5]);
    expect(resumed.weights).not.toEqual(first.weights);
    // One that never came to a checkpoint has none to go on from.
    const fails: TrainerCallback = {
      onStepBegin() {
        throw new Error('no');
      },
    };
    await run({ args: { outputDir, maxSteps: 5 }, callbacks: [fails] });
    expect(await lastCheckpoint(outputDir)).toBeNull();
    const { error } = await run({ args: { outputDir }, resumeFromCheckpoint: true });
    expect(error?.message).toMatch(
      /CHECKPOINT_NONE: .*checkpoint-1, checkpoint-2, ..., checkpoint-6\) is damaged, or of another run/,
    );
    const anew = await run({
      args: { outputDir, maxSteps: 1 },
      resumeFromCheckpoint: 'if-present',
    });
    expect(anew.steps).toEqual([1]);
  });

  test('what went back to an earlier checkpoint is another run, and the last', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { outputDir, maxSteps: 4 } });
    const args = { outputDir, maxSteps: 6, saveTotalLimit: 1 };
    await run({ args, resumeFromCheckpoint: join(outputDir, 'checkpoint-2'), stopAt: 3 });
    const names = ['checkpoint-1', 'checkpoint-2', 'checkpoint-3', 'checkpoint-4'];
    expect(await namesIn(outputDir)).toEqual(names);
    expect(await lastCheckpoint(outputDir)).toBe(join(outputDir, 'checkpoint-3'));
    const { steps } = await run({ args, resumeFromCheckpoint: true });
    expect(steps).toEqual([4, 5, 6]);
  });

  test('a checkpoint of another model is refused before a weight changes, with the difference', async () => {
    const outputDir = await temporaryFolder();
    const args = { outputDir, maxSteps: 4 };
    await run({ args, stopAt: 2 });
    const wider = { intermediate_size: 20 };
    const { weights } = await run({
      args: { saveStrategy: 'no', maxSteps: 1, learningRate: 0 },
      model: wider,
    });
    const other = await run({ args, model: wider, resumeFromCheckpoint: true });
    expect(other.error?.message).toMatch(/CHECKPOINT_MISMATCH: .*trainable was 776 and is 968/);
    expect(other.weights).toEqual(weights);
  });
});

describe('resumeFromCheckpoint: "if-present"', () => {
  test('starts anew where there is none, and goes on where there is one', async () => {
    const outputDir = join(await temporaryFolder(), 'new');
    const args = { outputDir, maxSteps: 4, resumeFromCheckpoint: 'if-present' } as const;
    expect(await lastCheckpoint(outputDir)).toBeNull();
    const first = await run({ args, stopAt: 2 });
    expect(first.steps).toEqual([1, 2]);
    expect(first.logger.lines).toContainEqual(expect.stringMatching(/info: .*starts anew/));
    expect(await lastCheckpoint(outputDir)).toBe(join(outputDir, 'checkpoint-2'));
    expect((await run({ args })).steps).toEqual([3, 4]);
    expect((await run({ args })).steps).toEqual([]);
  });

  test('passes over damaged ones, with a warning for each', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { outputDir, maxSteps: 4 }, stopAt: 2 });
    for (const name of ['checkpoint-1', 'checkpoint-2'])
      await writeFile(join(outputDir, name, 'rng_state.json'), '{}');
    const warned: string[] = [];
    expect(await lastCheckpoint(outputDir, { warn: (line) => warned.push(line) })).toBeNull();
    expect(warned).toHaveLength(2);
    const { steps, logger } = await run({
      args: { outputDir, maxSteps: 4 },
      resumeFromCheckpoint: 'if-present',
    });
    expect(steps).toEqual([1, 2, 3, 4]);
    expect(logger.lines[0]).toMatch(/checkpoint-2 is not whole \(rng_state.json has 2 bytes/);
  });

  test('a folder of checkpoints that is given for one names the one that is meant', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { outputDir, maxSteps: 2 } });
    const { error } = await run({ args: { outputDir }, resumeFromCheckpoint: outputDir });
    expect(error?.message).toMatch(/is a folder of checkpoints, not one\.\n.*checkpoint-2"/);
  });
});

describe('a lock', () => {
  const lockOf = (folder: string) => join(folder, '.attune.lock');
  const holder = async (folder: string, changes: object) =>
    writeFile(
      lockOf(folder),
      JSON.stringify({
        pid: process.pid,
        host: hostname(),
        since: '2026-01-01T00:00:00Z',
        processStart: null,
        token: 't',
        ...changes,
      }),
    );

  test.each(notFiles)('that is %s is refused by what it is', async (_, put, says) => {
    const folder = await temporaryFolder();
    await put(lockOf(folder));
    await expect(
      FolderLock.take(lockOf(folder), { folder, doing: 'training' }, new ListLogger()),
    ).rejects.toMatchObject({
      code: 'OUTPUT_DIR_IN_USE',
      message: expect.stringMatching(says),
    });
  });

  test('keeps a second run out, and is gone after the end, an error and a stop', async () => {
    const outputDir = await temporaryFolder();
    const args = { outputDir, maxSteps: 2 };
    let second: Awaited<ReturnType<typeof run>> | undefined;
    const meanwhile: TrainerCallback = {
      async onStepEnd({ state }) {
        if (state.globalStep === 1) second = await run({ args });
      },
    };
    const first = await run({ args, callbacks: [meanwhile] });
    expect(first.error).toBeNull();
    expect(second!.error?.message).toMatch(
      new RegExp(`OUTPUT_DIR_IN_USE: .* process ${process.pid} on ${hostname()} .* since 20`),
    );
    expect(second!.steps).toEqual([]);
    expect(await hiddenIn(outputDir)).toEqual([]);
    const failing: TrainerCallback = {
      onStepEnd() {
        throw new Error('no');
      },
    };
    expect((await run({ args, callbacks: [failing] })).error?.code).toBe('CALLBACK_FAILED');
    expect(await hiddenIn(outputDir)).toEqual(['.attune_run.json']);
    await run({ args, stopAt: 1 });
    expect(await hiddenIn(outputDir)).toEqual(['.attune_run.json']);
  });

  test.each([
    ['of a process that is no more', { pid: 2 ** 22 + 1 }],
    ['of a process whose number another has', { processStart: '1' }],
    ['that was cut off', null],
  ])('%s is taken over, with a message', async (_, changes) => {
    const outputDir = await temporaryFolder();
    await (changes ? holder(outputDir, changes) : writeFile(lockOf(outputDir), '{"pid'));
    const { error, logger } = await run({ args: { outputDir, maxSteps: 1 } });
    expect(error).toBeNull();
    expect(logger.lines[0]).toMatch(/the lock of .* is taken over/);
    expect(await hiddenIn(outputDir)).toEqual([]);
  });

  test('of another host is not judged', async () => {
    const outputDir = await temporaryFolder();
    await holder(outputDir, { host: 'elsewhere', pid: 2 ** 22 + 1 });
    const { error } = await run({ args: { outputDir, maxSteps: 1 } });
    expect(error?.message).toMatch(
      /OUTPUT_DIR_IN_USE: .* on elsewhere .*\n.*delete .*attune\.lock/,
    );
    expect(await readFile(lockOf(outputDir), 'utf8')).toContain('elsewhere');
  });
});

describe('a disk that refuses', () => {
  test.each(['ENOTDIR', 'a folder that a file is in the way of'])(
    '%s: before the first update',
    async () => {
      const inTheWay = join(await temporaryFolder(), 'file');
      await writeFile(inTheWay, '');
      for (const outputDir of [inTheWay, join(inTheWay, 'out')]) {
        const { error, steps } = await run({ args: { outputDir, maxSteps: 2, saveSteps: 2 } });
        expect(error?.message).toMatch(/DISK_WRITE: .* cannot be written: .* \((ENOTDIR|EEXIST)\)/);
        expect(error?.message).toContain(outputDir);
        expect(steps).toEqual([]);
      }
    },
  );

  test.each(['EACCES', 'EROFS', 'ENOSPC', 'EMFILE', 'EDQUOT'])(
    '%s at the first touch',
    async (code) => {
      const outputDir = await temporaryFolder();
      refuse('open', code, 1);
      const { error, steps } = await run({ args: { outputDir, maxSteps: 2, saveSteps: 2 } });
      expect(error?.message).toMatch(new RegExp(`DISK_WRITE: .*\\(${code}\\)`));
      expect(steps).toEqual([]);
    },
  );

  test.each(['ENOSPC', 'EIO', 'EMFILE'])(
    '%s in a later save: names the path, the reason and the last whole checkpoint',
    async (code) => {
      const outputDir = await temporaryFolder();
      const full: TrainerCallback = {
        onStepEnd({ state }) {
          if (state.globalStep === 2) refuse('writeFile', code);
        },
      };
      const { error } = await run({ args: { outputDir, maxSteps: 4 }, callbacks: [full] });
      restore();
      expect(error?.message).toMatch(
        new RegExp(
          `DISK_WRITE: .*checkpoint-2 cannot be written: .*\\(${code}\\)\\. The checkpoint .*checkpoint-1 is intact`,
        ),
      );
      expect(error?.details).toMatchObject({ checkpoint: join(outputDir, 'checkpoint-1') });
      expect(await namesIn(outputDir)).toEqual(['checkpoint-1']);
      expect(await hiddenIn(outputDir)).toEqual([]);
      const { steps } = await run({ args: { outputDir, maxSteps: 4 }, resumeFromCheckpoint: true });
      expect(steps).toEqual([2, 3, 4]);
    },
  );

  test.each(['jsonl', 'tensorboard', 'wandb'])(
    'of the tracker %s: its path, the reason, what is saved',
    async (name) => {
      const outputDir = await temporaryFolder();
      const inTheWay = join(await temporaryFolder(), 'file');
      await writeFile(inTheWay, '');
      const args = { outputDir, maxSteps: 2, reportTo: name, loggingDir: join(inTheWay, 'logs') };
      const { error } = await run({ args });
      expect(error?.message).toMatch(
        /CALLBACK_FAILED: .*DISK_WRITE: .*file.logs.* cannot be written: a file is where a folder must be, .*file \(EEXIST\)\./,
      );
    },
  );

  test('without room for one checkpoint it is said before training', async () => {
    const folder = await temporaryFolder();
    await checkSpace(folder, 1);
    await expect(checkSpace(folder, 2 ** 60)).rejects.toThrow(
      /DISK_SPACE: .* has room for [\d.]+ GB, and a checkpoint of this run takes 1150000000 GB/,
    );
    await checkSpace(join(folder, 'nowhere'), 2 ** 60);
  });

  test('a run that saves nothing leaves the folder alone', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'inside'));
    const outputDir = join(folder, 'inside', 'out');
    expect((await run({ args: { outputDir, maxSteps: 1, saveStrategy: 'no' } })).error).toBeNull();
    expect(await readdir(join(folder, 'inside'))).toEqual([]);
  });
});
