import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  Callbacks,
  type Communicator,
  causalLmObjective,
  createAttune,
  DatasetReaders,
  defineCallback,
  definePlugin,
  defineSchedule,
  LearningRateSchedules,
  loadDataset,
  Objectives,
  type PluginContext,
  SFTTrainer,
  silentLogger,
  type Tracker,
  Trackers,
  Trainer,
} from '@attune/core';
import { datasetReaderKit, inProcessWorld, scheduleKit, trackerKit } from '@attune/core/testing';
import { defineObjective } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinReaders } from '../../src/dataset/readRows.js';
import { idRows, minuteLlama, temporaryFolder } from '../trainer/support.js';

const open = (register: (context: PluginContext) => void, communicator?: Communicator) =>
  createAttune({
    plugins: [definePlugin({ name: 'acme', version: '1.0.0', apiVersion: 1, register })],
    backend: 'reference',
    logger: silentLogger,
    ...(communicator && { communicator }),
  });

describe('learning-rate schedules', () => {
  const acme = defineSchedule({
    name: 'acme-sqrt',
    follows: 'updates',
    options: z.strictObject({ floor: z.number().min(0).default(0.25) }),
    create:
      ({ totalSteps }, { floor }) =>
      (step) =>
        Math.max(floor, Math.sqrt(1 - step / totalSteps)),
  });
  for (const { name, run } of scheduleKit(acme)) test(name, run);

  const trainer = async (args: object) => {
    const attune = await open((context) => context.add(LearningRateSchedules, acme));
    const outputDir = await temporaryFolder();
    return new SFTTrainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(4),
      args: {
        ...{ outputDir, maxSteps: 4, loggingSteps: 1, learningRate: 1, saveStrategy: 'no' },
        ...{ lrSchedulerType: 'acme-sqrt', ...args },
      },
    });
  };

  test("a plugin's trains, its options in either spelling and with their defaults", async () => {
    for (const [args, floor] of [
      [{}, 0.25],
      [{ lr_scheduler_kwargs: { floor: 0.8 } }, 0.8],
    ] as const) {
      const run = await trainer(args);
      await run.train();
      const rates = run.state.logHistory.flatMap((row) => row.learningRate ?? []);
      expect(rates).toEqual([1, 0.75, 0.5, 0.25].map((x) => Math.max(floor, Math.sqrt(x))));
    }
  });

  test('its options are checked', async () => {
    await expect(trainer({ lrSchedulerKwargs: { flor: 1 } })).rejects.toThrow(
      /lrSchedulerKwargs.flor is not an option of the schedule "acme-sqrt"\. Did you mean "floor"\?[\s\S]*Options: floor/,
    );
    await expect(trainer({ lrSchedulerKwargs: { floor: -1 } })).rejects.toThrow(
      /lrSchedulerKwargs.floor is -1: .*\n.*Change lrSchedulerKwargs.floor/,
    );
  });

  test('a name that exists is refused, an unknown one says the nearest', async () => {
    const attune = await open((context) =>
      context.add(LearningRateSchedules, { ...acme, name: 'cosine' }),
    );
    expect(() => attune.registry(LearningRateSchedules)).toThrow(
      /DUPLICATE_NAME: plugins "core" and "acme" both add a learning-rate schedule "cosine"/,
    );
    await expect(trainer({ lrSchedulerType: 'acme-sqr' })).rejects.toThrow(
      /UNKNOWN_NAME[\s\S]*Did you mean "acme-sqrt"/,
    );
  });
});

describe('dataset readers', () => {
  const rows = [{ text: 'a' }, { text: 'b' }, { text: 'c' }];
  /** `row=<text>` on each line. */
  const acme = {
    name: 'acme',
    extensions: ['.acme'],
    async *read(file: string) {
      const lines = (
        await readFile(file, 'utf8').catch((cause) => {
          throw new Error(`${file} cannot be read`, { cause });
        })
      ).split('\n');
      if (lines.length < 2) throw new Error(`${file} has no rows`);
      for (const [i, line] of lines.entries())
        if (line.startsWith('row=')) yield { row: { text: line.slice(4) }, place: `:${i + 1}` };
    },
  };
  const content = 'row=a\nrow=b\nrow=c\n';
  for (const { name, run } of datasetReaderKit(acme, { content, rows })) test(name, run);
  const [json, text] = builtinReaders;
  const lines = rows.map((row) => JSON.stringify(row)).join('\n');
  for (const { name, run } of datasetReaderKit(json!, { content: lines, rows })) test(name, run);
  for (const { name, run } of datasetReaderKit(text!, { content: 'a\nb\nc\n', rows }))
    test(name, run);

  test('the kit finds a reader that goes on where it stopped', async () => {
    let left = [...rows];
    const once = {
      ...acme,
      async *read() {
        for (const row of left.splice(0)) yield { row, place: row.text };
      },
    };
    const [order, passes] = datasetReaderKit(once, { content, rows });
    await order!.run();
    left = [...rows];
    await expect(passes!.run()).rejects.toThrow(
      /KIT: dataset reader "acme": .* rows are read of 3/,
    );
  });

  test('the kit finds a reader that does not say which file is torn', async () => {
    const loose = {
      ...acme,
      async *read(file: string) {
        const text = await readFile(file, 'utf8');
        for (const row of JSON.parse(`[${text.replace(/\n(?=.)/g, ',')}]`))
          yield { row, place: row.text };
      },
    };
    const content = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    const torn = datasetReaderKit(loose, { content, rows }).at(-1)!;
    await expect(torn.run()).rejects.toThrow(
      /the error of a file cut after .* does not name the file/,
    );
  });

  test("a plugin's is reached with the Attune, in memory and as a stream", async () => {
    const attune = await open((context) => context.add(DatasetReaders, acme));
    const file = join(await temporaryFolder(), 'rows.acme');
    await writeFile(file, content);
    const dataset = await loadDataset('acme', { attune, dataFiles: file, split: 'train[1:]' });
    expect([...dataset]).toEqual(rows.slice(1));
    expect(dataset.origin(0)).toBe(`${file}:2`);
    const stream = await loadDataset('acme', { attune, dataFiles: file, streaming: true });
    const read = [];
    for await (const row of stream) read.push(row);
    expect(read).toEqual(rows);
    // The built-in ones are there, too.
    await expect(loadDataset('json', { attune, dataFiles: 'no.jsonl' })).rejects.toThrow(
      /no.jsonl/,
    );
  });

  test('an unknown name says what there is', async () => {
    const attune = await open((context) => context.add(DatasetReaders, acme));
    const dataFiles = 'x';
    await expect(loadDataset('acme', { dataFiles })).rejects.toThrow(
      /DATASET_FORMAT.*"acme"[\s\S]*"json" or "text".*needs \{ attune \}/,
    );
    await expect(loadDataset('acne', { attune, dataFiles })).rejects.toThrow(
      /"json" or "text" or "acme"[\s\S]*Did you mean "acme"/,
    );
    await expect(loadDataset('x.acme', { attune, dataFiles })).rejects.toThrow(
      /Write loadDataset\('acme', \{ dataFiles: 'x.acme' \}\)/,
    );
    await expect(loadDataset('json', { attune: {} as never, dataFiles })).rejects.toThrow(
      /DATASET_OPTION: loadDataset: attune is .*expected an Attune/,
    );
  });
});

describe('objectives', () => {
  /** The usual loss, times a number. */
  const acme = defineObjective({
    name: 'acme-loss',
    options: z.strictObject({ strength: z.number().positive().default(1) }),
    create: ({ args }, { strength }) => {
      const plain = causalLmObjective({ maxLength: args.maxLength! });
      const loss: typeof plain.loss = (model, batch) => ({
        loss: plain.loss(model, batch).loss.mul(strength),
      });
      return { ...plain, name: 'acme-loss', loss };
    },
  });
  const losses = async (objective: string, objectiveOptions?: Record<string, unknown>) => {
    const attune = await open((context) => context.add(Objectives, acme));
    const args = { maxSteps: 2, loggingSteps: 1, saveStrategy: 'no' } as const;
    const trainer = new Trainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(4),
      ...{ objective, objectiveOptions },
      args: { ...args, outputDir: await temporaryFolder(), learningRate: 0 },
    });
    await trainer.train();
    return trainer.state.logHistory.flatMap((row) => row.loss ?? []);
  };

  test("a plugin's trains by its name, with its options and their defaults", async () => {
    const plain = await losses('causal-lm');
    expect(await losses('acme-loss')).toEqual(plain);
    const strong = await losses('acme-loss', { strength: 2 });
    strong.forEach((loss, i) => {
      expect(loss).toBeCloseTo(2 * plain[i]!, 6);
    });
  });

  test('its options are checked, a name that exists is refused, an unknown one says the nearest', async () => {
    await expect(losses('acme-loss', { strenght: 2 })).rejects.toThrow(
      /UNKNOWN_OPTION.*strenght[\s\S]*strength/,
    );
    await expect(losses('acme-loss', { strength: -2 })).rejects.toThrow(
      /TRAINER_OPTION: .*strength.*-2/,
    );
    await expect(losses('acme-los')).rejects.toThrow(
      /unknown objective "acme-los"[\s\S]*"acme-loss"/,
    );
    const attune = await open((context) => context.add(Objectives, { ...acme, name: 'causal-lm' }));
    const objective = causalLmObjective({ maxLength: 8 });
    const model = await minuteLlama(attune);
    expect(() => new Trainer({ model, objective: 'causal-lm' })).toThrow(/DUPLICATE_NAME/);
    expect(() => new Trainer({ model, objective, objectiveOptions: {} })).toThrow(
      /TRAINER_OPTION: objectiveOptions are given beside the objective "causal-lm"/,
    );
  });
});

describe('trackers', () => {
  /** `<step> <loss>` on each line of loggingDir/acme.txt. */
  class AcmeTracker implements Tracker {
    readonly name = 'AcmeTracker';
    readonly firstRankOnly = true;
    #file: string | null = null;
    async onTrainBegin({ args, state }: Parameters<NonNullable<Tracker['onTrainBegin']>>[0]) {
      const folder = args.loggingDir ?? args.outputDir;
      await mkdir(folder, { recursive: true });
      this.#file = join(folder, 'acme.txt');
      const before = state.logHistory.flatMap((row) =>
        'loss' in row ? [`${row.step} ${row.loss}\n`] : [],
      );
      await writeFile(this.#file, before.join(''));
    }
    async onLog(
      { state }: Parameters<NonNullable<Tracker['onLog']>>[0],
      logs: Readonly<Record<string, number>>,
    ) {
      if (this.#file && 'loss' in logs)
        await appendFile(this.#file, `${state.globalStep} ${logs.loss}\n`);
    }
    onTrainEnd() {
      this.#file = null;
    }
  }
  const readLosses = async (folder: string) =>
    (await readFile(join(folder, 'acme.txt'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ').map(Number) as [number, number]);
  for (const { name, run } of trackerKit(() => new AcmeTracker(), {
    writesFiles: true,
    readLosses,
  }))
    test(name, run);

  test('the kit finds a tracker that forgets where a run was resumed', async () => {
    class Forgetful extends AcmeTracker {
      override onTrainBegin(context: Parameters<NonNullable<Tracker['onTrainBegin']>>[0]) {
        const state = Object.assign(Object.create(context.state), { logHistory: [] });
        return super.onTrainBegin({ ...context, state });
      }
    }
    const [moments, resumed] = trackerKit(() => new Forgetful(), { writesFiles: true, readLosses });
    await moments!.run();
    await expect(resumed!.run()).rejects.toThrow(/after a resumed run it has the losses/);
  });

  const train = async (register: (context: PluginContext) => void, reportTo: string | string[]) => {
    const attune = await open(register);
    const outputDir = await temporaryFolder();
    const model = await AutoModelForCausalLM.fromConfig((await minuteLlama(attune)).config.raw, {
      attune,
    });
    const args = { outputDir, reportTo, maxSteps: 2, loggingSteps: 1, saveStrategy: 'no' } as const;
    const trainer = new SFTTrainer({ model, trainDataset: idRows(2), args });
    await trainer.train();
    return { outputDir, trainer };
  };
  const add = (context: PluginContext) =>
    context.add(Trackers, { name: 'acme', writesFiles: true, useClass: AcmeTracker });

  test("a plugin's writes, by its name and with all", async () => {
    for (const reportTo of ['acme', 'all']) {
      const { outputDir } = await train(add, reportTo);
      expect(await readLosses(outputDir)).toHaveLength(2);
    }
  });

  test('those that nobody asks for are never made', async () => {
    const made: string[] = [];
    const counted = (name: string, writesFiles: boolean) => ({
      name,
      writesFiles,
      useClass: class extends AcmeTracker {
        constructor() {
          super();
          made.push(name);
        }
      },
    });
    const addAll = (context: PluginContext) => {
      for (const tracker of [counted('file', true), counted('server', false)])
        context.add(Trackers, tracker);
    };
    await train(addAll, []);
    expect(made).toEqual([]);
    await train(addAll, 'jsonl');
    expect(made).toEqual([]);
    await train(addAll, 'all');
    expect(made).toEqual(['file']);
    await train(addAll, 'server');
    expect(made).toEqual(['file', 'server']);
    // Where there are several ranks, the first alone has them.
    const attune = await open(addAll, inProcessWorld(2)[1]);
    const model = await minuteLlama(attune);
    const trainer = (reportTo: string) => new SFTTrainer({ model, args: { reportTo } });
    trainer('all');
    trainer('server');
    expect(made).toEqual(['file', 'server']);
    expect(() => trainer('serve')).toThrow(/unknown tracker "serve"/);
  });

  test('names of callbacks go, too; one name for both is refused', async () => {
    let moments = 0;
    const callback = defineCallback({ name: 'counter', onStepEnd: () => void moments++ });
    await train((context) => context.add(Callbacks, callback), ['counter']);
    expect(moments).toBe(2);
    await expect(
      train((context) => context.add(Callbacks, { ...callback, name: 'wandb' }), 'wandb'),
    ).rejects.toThrow(/DUPLICATE_NAME: "wandb" is the name of a callback and of a tracker/);
    await expect(train(add, 'acm')).rejects.toThrow(
      /unknown tracker "acm"[\s\S]*jsonl, html, acme/,
    );
  });
});
