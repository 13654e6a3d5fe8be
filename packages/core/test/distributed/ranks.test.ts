import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  type Communicator,
  createAttune,
  Dataset,
  defineCallback,
  IterableDataset,
  SFTTrainer,
  type SftTrainerOptions,
  silentLogger,
  type TrainOptions,
} from '@attune/core';
import { inProcessWorld } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';
import {
  backendPlugin,
  Float32Backend,
  idRows,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from '../trainer/support.js';

type Options = Omit<Partial<SftTrainerOptions>, 'args'> & { readonly args?: object };

const open = (communicator?: Communicator): Promise<Attune> =>
  createAttune({
    plugins: [backendPlugin('float32', () => new Float32Backend())],
    logger: silentLogger,
    ...(communicator && { communicator }),
  });

async function rankOf(communicator: Communicator | undefined, options: Options, seed = 0) {
  const attune = await open(communicator);
  const model = await minuteLlama(attune, seed);
  const trainer = new SFTTrainer({
    model,
    trainDataset: Dataset.from(idRows(13)),
    ...options,
    args: {
      ...{ gradientAccumulationSteps: 2, maxSteps: 6, loggingSteps: 2, learningRate: 0.05 },
      ...{ maxGradNorm: 0.5, saveStrategy: 'no', outputDir: await temporaryFolder() },
      ...options.args,
    } as never,
  });
  return { trainer, model };
}

type Made = Awaited<ReturnType<typeof rankOf>>;

const results = async ({ trainer, model }: Made, options: TrainOptions = {}) => {
  const output = await trainer.train(options);
  return { output, trainer, weights: await weightsOf(model), log: trainer.state.logHistory };
};

/** A run on N ranks, side by side. @param seeds of the initial weights */
async function world(
  worldSize: number,
  optionsOf: (rank: number) => Options,
  train: (rank: number) => TrainOptions = () => ({}),
  seeds: readonly number[] = [],
) {
  const ranks = await Promise.all(
    inProcessWorld(worldSize).map((c) => rankOf(c, optionsOf(c.rank), seeds[c.rank])),
  );
  return Promise.all(ranks.map((made, rank) => results(made, train(rank))));
}

const alone = async (options: Options, train: TrainOptions = {}) =>
  results(await rankOf(undefined, options), train);

const timeless = (log: readonly object[]) =>
  log.map((row) =>
    Object.fromEntries(
      Object.entries(row).filter(([name]) => !/untime|PerSecond|WaitMs/.test(name)),
    ),
  );

function expectClose(found: unknown, expected: unknown, tolerance = 1e-6): void {
  if (typeof expected === 'number')
    expect(Math.abs((found as number) - expected)).toBeLessThanOrEqual(
      tolerance * Math.max(1, Math.abs(expected)),
    );
  else if (typeof expected === 'object' && expected !== null) {
    expect(Object.keys(found as object)).toEqual(Object.keys(expected));
    for (const [key, value] of Object.entries(expected))
      expectClose((found as Record<string, unknown>)[key], value, tolerance);
  } else expect(found).toEqual(expected);
}

const rowsOf = (size: number) => ({ perDeviceTrainBatchSize: size });

describe('two ranks train as one with batches twice as large', () => {
  // 13 rows in micro-batches of 4: the last has one row, so one rank has none of it.
  const cases: [string, Options][] = [
    ['an update for which one rank has no row', { args: { gradientAccumulationSteps: 1 } }],
    ['AdamW, accumulation, clipping, a last short batch', {}],
    [
      'an evaluation set whose last batch is short',
      {
        evalDataset: idRows(7),
        args: { evalStrategy: 'steps', evalSteps: 3, perDeviceEvalBatchSize: 2 },
      },
    ],
    [
      'lengths grouped, the last batch dropped',
      {
        args: { groupByLength: true, dataloaderDropLast: true },
      },
    ],
    ['a stream', { trainDataset: IterableDataset.from(() => idRows(13)) }],
  ];
  test.each(cases)('%s', async (_, options) => {
    const one = await alone({ ...options, args: { ...options.args, ...rowsOf(4) } });
    const both = await world(2, () => ({ ...options, args: { ...options.args, ...rowsOf(2) } }));
    expect(both[0]!.weights).toEqual(both[1]!.weights);
    expectClose(both[0]!.weights, one.weights);
    for (const { log } of both) expectClose(timeless(log), timeless(one.log));
    expect(both[1]!.trainer.state.numInputTokensSeen).toBe(one.trainer.state.numInputTokensSeen);
  });

  test('three ranks, and rank 0 says what the weights are at the start', async () => {
    const one = await alone({ args: rowsOf(6) });
    const three = await world(3, () => ({ args: rowsOf(2) }), undefined, [0, 5, 9]);
    for (const { weights } of three) expectClose(weights, one.weights);
  });
});

describe('checkpoints', () => {
  test('rank 0 alone writes', async () => {
    const folders = [await temporaryFolder(), await temporaryFolder()];
    const args = (rank: number) => ({
      ...{ outputDir: folders[rank], saveStrategy: 'steps', saveSteps: 3, ...rowsOf(2) },
      ...{ reportTo: ['jsonl', 'html', 'tensorboard'], disableTqdm: false },
    });
    const both = await world(2, (rank) => ({ args: args(rank) }));
    expect((await readdir(folders[0]!)).sort()).toEqual(
      expect.arrayContaining(['checkpoint-3', 'checkpoint-6', 'log.jsonl', 'report.html', 'runs']),
    );
    expect(await readdir(folders[1]!)).toEqual([]);
    const saved = [await temporaryFolder(), await temporaryFolder()];
    await Promise.all(both.map(({ trainer }, rank) => trainer.saveModel(saved[rank]!)));
    expect(await readdir(saved[0]!)).toContain('model.safetensors');
    expect(await readdir(saved[1]!)).toEqual([]);
  });

  test('a resumed run is bit for bit the uninterrupted one, dropout of each rank included', async () => {
    const noise = { neftuneNoiseAlpha: 5, ...rowsOf(2) };
    const [whole, resumed] = [await temporaryFolder(), await temporaryFolder()];
    const save = { saveStrategy: 'steps', saveSteps: 3 };
    const straight = await world(2, () => ({ args: { ...noise, ...save, outputDir: whole } }));
    const args = { ...noise, ...save, outputDir: resumed };
    await world(2, () => ({
      args,
      callbacks: [
        defineCallback({
          name: 'end',
          onStepEnd: ({ state, control }) => {
            if (state.globalStep === 3) control.shouldTrainingStop = true;
          },
        }),
      ],
    }));
    const rng = JSON.parse(await readFile(join(resumed, 'checkpoint-3', 'rng_state.json'), 'utf8'));
    expect(rng.dropout_draws_by_rank).toHaveLength(2);
    const after = await world(
      2,
      () => ({ args }),
      () => ({ resumeFromCheckpoint: true }),
    );
    for (const rank of [0, 1]) {
      expect(after[rank]!.weights).toEqual(straight[rank]!.weights);
      expect(timeless(after[rank]!.log).slice(0, -1)).toEqual(
        timeless(straight[rank]!.log).slice(0, -1),
      );
    }
    // Each rank draws its own noise: the same rows on one rank give another run.
    const single = await alone({ args: { ...noise, ...rowsOf(4) } });
    expect(single.weights).not.toEqual(straight[0]!.weights);
  });

  test('one rank goes on where two stopped', async () => {
    const outputDir = await temporaryFolder();
    const constant = { lrSchedulerType: 'constant' };
    const save = { ...constant, saveStrategy: 'steps', saveSteps: 3, outputDir };
    await world(2, () => ({ args: { ...save, ...rowsOf(2), maxSteps: 3 } }));
    const after = await alone({ args: { ...save, ...rowsOf(4) } }, { resumeFromCheckpoint: true });
    const straight = await alone({ args: { ...constant, ...rowsOf(4) } });
    expectClose(after.weights, straight.weights);
  });
});

test('one rank asks its communicator for nothing', async () => {
  const never = () => {
    throw new Error('asked');
  };
  const silent: Communicator = {
    ...{ rank: 0, worldSize: 1, allReduce: never, reduceScatter: never, allGather: never },
    ...{ broadcast: never, barrier: never, abort: never },
  };
  const outputDir = await temporaryFolder();
  const options = {
    evalDataset: idRows(3),
    args: { ...rowsOf(4), outputDir, saveStrategy: 'steps', saveSteps: 3, evalStrategy: 'epoch' },
  };
  const made = await rankOf(silent, options);
  const { weights } = await results(made);
  await made.trainer.saveModel(join(outputDir, 'final'));
  expect(weights).toEqual((await alone(options)).weights);
});

describe('what one rank meets, all do', () => {
  test('a NaN on one rank skips the update on all', async () => {
    const clipped = await world(2, (rank) => ({
      args: { ...rowsOf(2), loggingSteps: 1 },
      callbacks: [
        defineCallback({
          name: 'poison',
          onSubstepEnd: ({ state, model }) => {
            if (rank !== 1 || state.globalStep !== 2) return;
            for (const [, { tensor }] of model.root.namedParameters()) {
              const { grad, engine } = tensor;
              if (!grad) continue;
              const { storage, byteOffset } = grad;
              engine.backend.write(storage.buffer, byteOffset, Float32Array.of(Number.NaN));
            }
          },
        }),
      ],
    }));
    for (const { trainer } of clipped) expect(trainer.state.skippedSteps).toBe(1);
    expect(clipped[0]!.weights).toEqual(clipped[1]!.weights);
    expect(Object.values(clipped[0]!.weights).flat().every(Number.isFinite)).toBe(true);
  });

  test('a request to end of one rank ends all at the same update, with a checkpoint', async () => {
    const controller = new AbortController();
    const outputDir = await temporaryFolder();
    const both = await world(
      2,
      (rank) => ({
        args: { ...rowsOf(2), outputDir, saveStrategy: 'epoch' },
        callbacks: [
          defineCallback({
            name: 'abort',
            onStepBegin: ({ state }) => {
              if (rank === 1 && state.globalStep === 3) controller.abort();
            },
          }),
        ],
      }),
      (rank) => (rank === 1 ? { signal: controller.signal } : {}),
    );
    for (const { output } of both)
      expect(output).toMatchObject({ globalStep: 4, stoppedBy: 'abort' });
    expect(await readdir(outputDir)).toContain('checkpoint-4');
  });

  test('a callback of one rank is heard by all, and nobody waits for a rank that fails', async () => {
    const stop = await world(2, (rank) => ({
      args: rowsOf(2),
      callbacks: [
        defineCallback({
          name: 'stop',
          onLog: ({ control }) => {
            if (rank === 1) control.shouldTrainingStop = true;
          },
        }),
      ],
    }));
    for (const { output } of stop) expect(output.globalStep).toBe(2);

    const outputDir = await temporaryFolder();
    const ranks = await Promise.all(
      inProcessWorld(2).map((communicator) =>
        rankOf(communicator, {
          args: { ...rowsOf(2), outputDir, saveStrategy: 'epoch' },
          callbacks: [
            defineCallback({
              name: 'fails',
              onStepBegin: ({ state }) => {
                if (communicator.rank === 1 && state.globalStep === 2) throw new Error('no row');
              },
            }),
          ],
        }),
      ),
    );
    const [first, second] = await Promise.allSettled(ranks.map(({ trainer }) => trainer.train()));
    expect(String((second as PromiseRejectedResult).reason)).toMatch(/CALLBACK_FAILED.*no row/);
    expect(String((first as PromiseRejectedResult).reason)).toMatch(
      /COMMUNICATOR_LOST: rank 1 of 2 has ended: .*no row/,
    );
    expect(await readdir(outputDir)).toContain('checkpoint-2'); // what was learned
  });

  test('a loop that is left lets the others go', async () => {
    const [one, other] = await Promise.all(
      inProcessWorld(2).map((communicator) => rankOf(communicator, { args: rowsOf(2) })),
    );
    const training = one!.trainer.train();
    for await (const step of other!.trainer.steps()) if (step.step === 2) break;
    await expect(training).rejects.toThrow(/COMMUNICATOR_LOST.*left before the end/);
  });

  test('ranks that do not do the same are told', async () => {
    const run = world(2, (rank) => ({ args: { ...rowsOf(2), maxSteps: 3 + rank } }));
    await expect(run).rejects.toThrow(/RANKS_DIFFER: maxSteps is 3 on rank 0 and 4 on rank 1/);
  });
});
