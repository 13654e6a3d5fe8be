import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AttuneError,
  causalLmObjective,
  createAttune,
  EarlyStoppingCallback,
  type Objective,
  ops,
  Trainer,
  type TrainerCallback,
  type TrainingArgumentsInput,
  type TrainOptions,
} from '@attune/core';
import type { LogEntry } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import {
  backendPlugin,
  Float32Backend,
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

/**
 * Next-token prediction with dropout on the hidden states: a resumed run must draw the same masks.
 */
const noisy: Objective = {
  ...causalLmObjective({ maxLength: 32 }),
  loss(model, { inputIds, labels }) {
    const hidden = model.hiddenStates({ inputIds: inputIds! });
    const logits = model.head(model.root.training ? ops.dropout(hidden, 0.3) : hidden);
    const nll = ops.crossEntropy(logits.reshape(labels!.size, -1), labels!.reshape(labels!.size));
    return { loss: nll.sum(), metrics: { nllAgain: { sum: nll.sum(), count: 2 } } };
  },
};

interface RunOptions extends TrainOptions {
  readonly args: TrainingArgumentsInput;
  readonly stopAt?: number;
  readonly logger?: ListLogger;
  readonly callbacks?: TrainerCallback[];
  readonly rows?: object[];
}

/** A run in an Attune of its own, as after a restart of the process. */
async function run(options: RunOptions) {
  const {
    args,
    stopAt,
    logger = new ListLogger(),
    callbacks = [],
    rows = idRows(11),
    ...training
  } = options;
  await using attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3);
  const controller = new AbortController();
  const trainer = new Trainer({
    model,
    objective: noisy,
    trainDataset: rows,
    evalDataset: idRows(4),
    callbacks,
    args: {
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      seed: 5,
      ...args,
    },
  });
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  const output = await trainer.train({ ...training, signal: controller.signal });
  return { output, weights: await weightsOf(model), state: trainer.state, logger };
}

/** The log without what the clock decides. */
const timeless = (history: readonly LogEntry[]) =>
  history.map((row) =>
    Object.fromEntries(
      Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
    ),
  );

describe('resume', () => {
  // 11 rows, 2 to a batch, 2 batches to an update: 3 updates an epoch, the last with 1 row and a
  // half window.
  const args = {
    maxSteps: 10,
    loggingSteps: 4,
    evalStrategy: 'steps',
    evalSteps: 5,
    saveSteps: 1,
    lrSchedulerType: 'cosine',
    warmupSteps: 2,
    weightDecay: 0.1,
  } as const;

  test('row 32: from any update on, bit for bit the uninterrupted run', async () => {
    const whole = await run({ args: { ...args, outputDir: await temporaryFolder() } });
    for (const stopAt of [1, 3, 5, 8]) {
      const outputDir = await temporaryFolder();
      await run({ args: { ...args, outputDir }, stopAt });
      const resumed = await run({ args: { ...args, outputDir }, resumeFromCheckpoint: true });
      expect(resumed.weights).toEqual(whole.weights);
      expect(timeless(resumed.state.logHistory)).toEqual(timeless(whole.state.logHistory));
      expect(resumed.output.trainingLoss).toBe(whole.output.trainingLoss);
      expect(resumed.output.globalStep).toBe(10);
    }
  });

  test('of a finished run changes nothing', async () => {
    const outputDir = await temporaryFolder();
    const done = await run({ args: { ...args, outputDir } });
    const again = await run({ args: { ...args, outputDir, resumeFromCheckpoint: true } });
    expect(again.weights).toEqual(done.weights);
  });

  test('refuses rows or batches of another cut, and names them', async () => {
    const outputDir = await temporaryFolder();
    await run({ args: { ...args, outputDir }, stopAt: 2 });
    const resume = (more: object, rows = idRows(11)) =>
      run({ args: { ...args, outputDir, ...more }, rows, resumeFromCheckpoint: true });
    await expect(resume({ perDeviceTrainBatchSize: 4 })).rejects.toThrow(
      /CHECKPOINT_MISMATCH: .*checkpoint-2: batchSize was 2 and is 4/,
    );
    await expect(resume({}, idRows(9))).rejects.toThrow(/rows was 11 and is 9/);
    await expect(resume({ dataSeed: 7 })).rejects.toThrow(/: dataSeed was 5 and is 7\./);
    await expect(resume({ groupByLength: true })).rejects.toThrow(
      /trainSamplingStrategy was random and is group_by_length/,
    );
  });

  test('keeps the counter of early stopping', async () => {
    const outputDir = await temporaryFolder();
    const patient = () => {
      const callback = new EarlyStoppingCallback({
        earlyStoppingPatience: 100,
        earlyStoppingThreshold: 99,
      });
      return { callback, args: { ...args, outputDir, evalSteps: 1, metricForBestModel: 'loss' } };
    };
    const first = patient();
    await run({ args: first.args, callbacks: [first.callback], stopAt: 4 });
    // Evaluated after updates 1 to 3: a run that is stopped leaves the evaluation of its last
    // update to the next.
    expect(first.callback.counter).toBe(2);
    const second = patient();
    await run({
      args: second.args,
      callbacks: [second.callback],
      stopAt: 6,
      resumeFromCheckpoint: true,
    });
    expect(second.callback.counter).toBe(4); // after updates 4 and 5
  });
});

describe('saveOnlyModel', () => {
  test('keeps the weights alone, which nothing is resumed from', async () => {
    const outputDir = await temporaryFolder();
    const args = { outputDir, maxSteps: 4, saveSteps: 4, saveOnlyModel: true };
    await run({ args });
    const folder = join(outputDir, 'checkpoint-4');
    expect((await readdir(folder)).sort()).toEqual([
      'attune_checkpoint.json',
      'config.json',
      'model.safetensors',
      'trainer_state.json',
      'training_args.json',
    ]);
    await expect(run({ args, resumeFromCheckpoint: true })).rejects.toThrow(
      /CHECKPOINT_MODEL_ONLY: .*checkpoint-4/,
    );
  });

  test('a run that is stopped can go on all the same', async () => {
    const args = { outputDir: await temporaryFolder(), maxSteps: 4, saveOnlyModel: true };
    await run({ args, stopAt: 2 });
    expect((await run({ args, resumeFromCheckpoint: true })).output.globalStep).toBe(4);
  });
});

test('restoreCallbackStatesFromCheckpoint: false leaves callbacks as they were made', async () => {
  const args = { outputDir: await temporaryFolder(), maxSteps: 3, saveSteps: 1 };
  const counter = () => {
    const imported: unknown[] = [];
    const callback: TrainerCallback = {
      name: 'counter',
      exportState: () => ({ seen: 1 }),
      importState: (state) => void imported.push(state),
    };
    return { callback, imported };
  };
  await run({ args, callbacks: [counter().callback], stopAt: 2 });
  for (const [restore, expected] of [
    [true, [{ seen: 1 }]],
    [false, []],
  ] as const) {
    const { callback, imported } = counter();
    const resumed = { ...args, restoreCallbackStatesFromCheckpoint: restore };
    const folder = join(args.outputDir, 'checkpoint-2');
    await run({ args: resumed, callbacks: [callback], resumeFromCheckpoint: folder });
    expect(imported).toEqual(expected);
  }
});

describe('a torn checkpoint', () => {
  const prepare = async () => {
    const outputDir = await temporaryFolder();
    const args = { outputDir, maxSteps: 6, saveSteps: 2 };
    await run({ args, stopAt: 4 });
    return { args, last: join(outputDir, 'checkpoint-4'), outputDir };
  };
  const damages: [string, (folder: string) => Promise<void>, RegExp][] = [
    [
      'without its manifest',
      (f) => rm(join(f, 'attune_checkpoint.json')),
      /has no attune_checkpoint/,
    ],
    [
      'with a file cut off',
      (f) => truncate(join(f, 'optimizer.safetensors'), 100),
      /optimizer.safetensors has 100 bytes instead of \d+/,
    ],
    [
      'with a file missing',
      (f) => rm(join(f, 'model.safetensors')),
      /model.safetensors is missing/,
    ],
    [
      'with JSON overwritten',
      async (f) => {
        const { length } = await readFile(join(f, 'rng_state.json'));
        await writeFile(join(f, 'rng_state.json'), ' '.repeat(length));
      },
      /rng_state.json has other bytes than were written \(its SHA-256 differs\)/,
    ],
    [
      'with one byte changed',
      async (f) => {
        const bytes = await readFile(join(f, 'model.safetensors'));
        bytes[bytes.length - 9]! ^= 1;
        await writeFile(join(f, 'model.safetensors'), bytes);
      },
      /model.safetensors has other bytes than were written/,
    ],
    [
      'with a folder in the place of a file',
      async (f) => {
        await rm(join(f, 'scheduler.json'));
        await mkdir(join(f, 'scheduler.json'));
      },
      /scheduler.json is missing/,
    ],
    [
      'with a manifest of another version',
      (f) => changeManifest(f, ({ files }) => ({ files: Object.keys(files) })),
      /attune_checkpoint.json is not of version 2/,
    ],
    [
      'with a manifest that is not one',
      (f) => writeFile(join(f, 'attune_checkpoint.json'), '[1,'),
      /attune_checkpoint.json is not JSON/,
    ],
    [
      'with a manifest that leads out of the folder',
      (f) => changeManifest(f, (m) => ({ ...m, files: { ...m.files, '../../x': { bytes: 1 } } })),
      /attune_checkpoint.json: files/,
    ],
    [
      'with a manifest that names no state',
      (f) => changeManifest(f, (m) => ({ ...m, files: {} })),
      /attune_checkpoint.json names no trainer_state.json/,
    ],
    [
      'with another type in its JSON, hashed again',
      async (f) => {
        const path = join(f, 'trainer_state.json');
        const text = (await readFile(path, 'utf8')).replace(
          '"global_step": 4',
          '"global_step": "4"',
        );
        await writeFile(path, text);
        await changeManifest(f, (m) => ({
          ...m,
          files: {
            ...m.files,
            'trainer_state.json': {
              bytes: Buffer.byteLength(text),
              sha256: createHash('sha256').update(text).digest('hex'),
            },
          },
        }));
      },
      /trainer_state.json: global_step: .*expected (int|number), received string/,
    ],
  ];
  interface Manifest {
    readonly files: Readonly<Record<string, object>>;
  }
  async function changeManifest(folder: string, change: (manifest: Manifest) => object) {
    const path = join(folder, 'attune_checkpoint.json');
    await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')))));
  }
  for (const [name, tear, message] of damages)
    test(`${name} is skipped with a warning, and refused when it is asked for`, async () => {
      const { args, last } = await prepare();
      await tear(last);
      await expect(run({ args, resumeFromCheckpoint: last })).rejects.toThrow(message);
      const { logger, output } = await run({ args, resumeFromCheckpoint: true });
      expect(logger.lines[0]).toMatch(/warn: .*checkpoint-4 is not whole/);
      expect(logger.lines[0]).toMatch(message);
      expect(output.globalStep).toBe(6);
    });

  test('none at all is an error', async () => {
    const args = { outputDir: await temporaryFolder(), maxSteps: 1 };
    await expect(run({ args, resumeFromCheckpoint: true })).rejects.toThrow(/CHECKPOINT_NONE/);
    await expect(run({ args, resumeFromCheckpoint: 'nowhere' })).rejects.toThrow(
      /there is no checkpoint nowhere/,
    );
  });
});

describe('files', () => {
  test('have the names of transformers, and trainer_state.json its keys', async () => {
    const outputDir = await temporaryFolder();
    await run({
      args: {
        outputDir,
        maxSteps: 2,
        loggingSteps: 1,
        saveSteps: 2,
        evalStrategy: 'steps',
        evalSteps: 2,
        loadBestModelAtEnd: true,
      },
    });
    const folder = join(outputDir, 'checkpoint-2');
    expect((await readdir(folder)).sort()).toEqual([
      'attune_checkpoint.json',
      'attune_state.json',
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'rng_state.json',
      'scheduler.json',
      'trainer_state.json',
      'training_args.json',
    ]);
    const state = JSON.parse(await readFile(join(folder, 'trainer_state.json'), 'utf8'));
    expect(Object.keys(state)).toEqual([
      'best_global_step',
      'best_metric',
      'best_model_checkpoint',
      'epoch',
      'eval_steps',
      'global_step',
      'is_hyper_param_search',
      'is_local_process_zero',
      'is_world_process_zero',
      'log_history',
      'logging_steps',
      'max_steps',
      'num_input_tokens_seen',
      'num_train_epochs',
      'save_steps',
      'stateful_callbacks',
      'total_flos',
      'train_batch_size',
      'trial_name',
      'trial_params',
    ]);
    expect(state).toMatchObject({
      best_global_step: 2,
      best_model_checkpoint: folder,
      global_step: 2,
      max_steps: 2,
      epoch: 2 / 3,
    });
    expect(Object.keys(state.log_history[0])).toEqual([
      'epoch',
      'grad_norm',
      'learning_rate',
      'loss',
      'nll_again',
      'step',
    ]);
    expect(state.log_history[2]).toMatchObject({
      eval_loss: expect.any(Number),
      eval_nll_again: expect.any(Number),
      step: 2,
    });
    expect(await readdir(outputDir)).toEqual(['checkpoint-2']);
  });

  for (const [limit, kept] of [
    [1, [2, 6]],
    [2, [2, 6]],
    [3, [2, 5, 6]],
  ] as const)
    test(`row 34: saveTotalLimit ${limit} keeps the best and the latest`, async () => {
      const outputDir = await temporaryFolder();
      // Evaluation after update 2 is the best: the rate is absurd from then on.
      const best = {
        name: 'best-at-2',
        onEvaluate: ({ state }, metrics) => {
          Object.assign(metrics, { evalScore: state.globalStep === 2 ? 1 : 0 });
        },
      } satisfies TrainerCallback;
      await run({
        args: {
          outputDir,
          maxSteps: 6,
          saveSteps: 1,
          evalSteps: 1,
          evalStrategy: 'steps',
          saveTotalLimit: limit,
          metricForBestModel: 'score',
        },
        callbacks: [best],
      });
      expect((await readdir(outputDir)).sort()).toEqual(kept.map((n) => `checkpoint-${n}`));
    });
});

test('loadBestModelAtEnd brings back the weights of the best evaluation', async () => {
  const outputDir = await temporaryFolder();
  const atBest: Record<string, Record<string, number[]>> = {};
  const spoil: TrainerCallback = {
    async onEvaluate({ state, model }, metrics) {
      Object.assign(metrics, { evalScore: state.globalStep === 2 ? 1 : 0 });
      atBest[state.globalStep] = await weightsOf(model as never);
    },
  };
  const { weights, state, logger } = await run({
    args: {
      outputDir,
      maxSteps: 4,
      saveSteps: 1,
      evalSteps: 1,
      evalStrategy: 'steps',
      loadBestModelAtEnd: true,
      metricForBestModel: 'score',
    },
    callbacks: [spoil],
  });
  expect(state).toMatchObject({
    bestMetric: 1,
    bestGlobalStep: 2,
    bestModelCheckpoint: join(outputDir, 'checkpoint-2'),
  });
  expect(weights).toEqual(atBest[2]);
  expect(weights).not.toEqual(atBest[4]);
  expect(logger.lines).toContainEqual(expect.stringContaining('loading the best checkpoint'));
});

test.each([
  [
    { saveSteps: 2, evalSteps: 1 },
    (step: number) => (step === 3 ? 1 : step / 10),
    /best evaluation \(evalScore 1\) was at update 3, of which there is no checkpoint: loading the checkpoint .*checkpoint-2\. Set saveSteps: 1/,
  ],
  [
    { saveSteps: 4, evalSteps: 1 },
    (step: number) => (step === 1 ? 1 : 0.5),
    /was at update 1, of which there is no checkpoint: the weights stay/,
  ],
  [
    { saveSteps: 1, evalSteps: 1 },
    () => Number.NaN,
    /no evaluation gave a number for evalScore: the weights stay/,
  ],
])('loadBestModelAtEnd says when it cannot: %o', async (steps, score, message) => {
  const { logger } = await run({
    args: {
      outputDir: await temporaryFolder(),
      ...{ maxSteps: 4, evalStrategy: 'steps', ...steps },
      ...{ loadBestModelAtEnd: true, metricForBestModel: 'score' },
    },
    callbacks: [
      {
        onEvaluate: ({ state }, metrics) =>
          void Object.assign(metrics, { evalScore: score(state.globalStep) }),
      },
    ],
  });
  expect(logger.lines).toContainEqual(expect.stringMatching(message));
});

describe('a lost device', () => {
  class Lost extends Float32Backend {
    calls = 0;
    override async sync(): Promise<void> {
      if (++this.calls > 5) throw new AttuneError('DEVICE_LOST', 'the GPU is gone.');
    }
  }
  const train = async (saveSteps: number) => {
    const attune = await createAttune({
      plugins: [backendPlugin('lost', () => new Lost())],
      logger: new ListLogger(),
    });
    const outputDir = await temporaryFolder();
    const trainer = new Trainer({
      model: await minuteLlama(attune),
      objective: causalLmObjective({ maxLength: 32 }),
      trainDataset: idRows(4),
      args: { outputDir, maxSteps: 20, saveSteps },
    });
    const error: unknown = await trainer.train().catch((e: unknown) => e);
    return { error: error as AttuneError, outputDir };
  };

  test('ends with an error that says what is left and how to go on', async () => {
    const { error, outputDir } = await train(2);
    expect(error.code).toBe('DEVICE_LOST');
    expect(error.message).toMatch(
      /after update \d of 20\. The checkpoint .*checkpoint-\d is intact\./,
    );
    expect(error.remedy).toContain(`resumeFromCheckpoint: "${outputDir}/checkpoint-`);
    expect((error.cause as AttuneError).message).toContain('the GPU is gone');
  });

  test('also when there is no checkpoint yet', async () => {
    const { error } = await train(100);
    expect(error.message).toContain('No checkpoint had been written');
  });
});
