import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AlignmentTrainer,
  align,
  CPOTrainer,
  DPOTrainer,
  defineAlignmentObjective,
  dpo,
  IPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  SimPOTrainer,
  storedReferences,
} from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  type Logger,
  silentLogger,
  Trainer,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const folder = join(import.meta.dirname, '../../../parity/fixtures/tiny-llama');

const start = (logger: Logger = silentLogger): Promise<Attune> =>
  createAttune({ backend: 'reference', plugins: [align()], logger });

const load = (attune: Attune) =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });

const ids = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => (37 * seed + 11 * i + i * i) % 200);

/** Answers of different lengths to prompts of different lengths. */
const pairs = Array.from({ length: 8 }, (_, i) => ({
  prompt_ids: ids(i, 2 + (i % 3)),
  chosen_ids: ids(50 + i, 2 + (i % 4)),
  rejected_ids: ids(90 + i, 1 + (i % 5)),
}));

const args = async () => ({
  outputDir: await mkdtemp(join(tmpdir(), 'attune-align-')),
  maxSteps: 3,
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-3,
  loggingSteps: 1,
  shuffle: false,
  saveStrategy: 'no' as const,
  seed: 1,
});

const common = async (attune: Attune) => ({ model: await load(attune), trainDataset: pairs });

describe('trainers over pairs and labelled answers', () => {
  test('DPO begins at ln 2, and the chosen answers win', async () => {
    await using attune = await start();
    const trainer = new DPOTrainer({
      ...(await common(attune)),
      evalDataset: pairs.slice(0, 3),
      args: { ...(await args()), beta: 0.3, maxSteps: 6 },
    });
    await trainer.train();
    const logs = trainer.state.logHistory.filter((row) => 'loss' in row);
    expect(logs[0]!.loss).toBeCloseTo(Math.LN2, 6);
    expect(logs[0]!['rewards/margins']).toBeCloseTo(0, 6);
    expect(logs.at(-1)!.loss).toBeLessThan(0.6);
    expect(logs.at(-1)!['rewards/accuracies']).toBe(1);
    expect(logs.at(-1)!['rewards/margins']).toBeCloseTo(
      (logs.at(-1)!['rewards/chosen'] as number) - (logs.at(-1)!['rewards/rejected'] as number),
      5,
    );
    expect(await trainer.evaluate()).toHaveProperty('eval_rewards/margins');
  });

  const all = {
    IPOTrainer: [IPOTrainer, {}],
    KTOTrainer: [KTOTrainer, {}],
    ORPOTrainer: [ORPOTrainer, {}],
    SimPOTrainer: [SimPOTrainer, { beta: 2, gamma: 1 }],
    CPOTrainer: [CPOTrainer, {}],
  } as const;
  for (const [name, [Class, own]] of Object.entries(all))
    test(`${name} lowers its loss`, async () => {
      await using attune = await start();
      const trainer = new (Class as typeof DPOTrainer)({
        ...(await common(attune)),
        args: { ...(await args()), ...own, maxSteps: 4, perDeviceTrainBatchSize: 8 },
      });
      await trainer.train();
      const losses = trainer.state.logHistory.flatMap(({ loss }) =>
        loss === undefined ? [] : [loss],
      );
      expect(losses).toHaveLength(4);
      expect(losses.at(-1)).toBeLessThan(losses[0] as number);
    });
});

describe('objectives by name, and of others', () => {
  test('a name of the plugin, for AlignmentTrainer and for Trainer; a function', async () => {
    const losses = [];
    for (const make of [
      async (attune: Attune) =>
        new AlignmentTrainer({
          objective: 'dpo',
          ...(await common(attune)),
          args: { ...(await args()), beta: 0.2 },
        }),
      async (attune: Attune) =>
        new Trainer({
          objective: 'dpo',
          objectiveOptions: { beta: 0.2 },
          ...(await common(attune)),
          args: await args(),
        }),
      async (attune: Attune) =>
        new Trainer({
          objective: dpo({ beta: 0.2 }),
          ...(await common(attune)),
          args: await args(),
        }),
    ]) {
      await using attune = await start();
      const trainer = (await make(attune)) as Trainer;
      await trainer.train();
      losses.push(trainer.state.logHistory.map(({ loss }) => loss));
    }
    expect(losses[1]).toEqual(losses[0]);
    expect(losses[2]).toEqual(losses[0]);
  });

  test('one that somebody else wrote', async () => {
    const mine = defineAlignmentObjective({
      name: 'mine',
      format: 'pairs',
      options: z.strictObject({ strength: z.number().default(1) }),
      needsReference: false,
      loss: ({ chosen, rejected }, { strength }) => ({
        losses: chosen.sub(rejected).mul(-strength).relu(),
        rewards: { chosen: chosen.detach(), rejected: rejected.detach() },
      }),
    });
    await using attune = await start();
    const trainer = new AlignmentTrainer({
      objective: mine,
      ...(await common(attune)),
      args: { ...(await args()), strength: 2 },
    });
    await trainer.train();
    expect(trainer.state.globalStep).toBe(3);
  });
});

test('one without options of its own', async () => {
  const plain = defineAlignmentObjective({
    name: 'plain',
    format: 'pairs',
    options: z.strictObject({}),
    needsReference: false,
    loss: ({ chosen, rejected }) => ({
      losses: chosen.sub(rejected).logSigmoid().neg(),
      rewards: { chosen: chosen.detach(), rejected: rejected.detach() },
    }),
  });
  await using attune = await start();
  const trainer = new AlignmentTrainer({
    objective: plain,
    ...(await common(attune)),
    args: { outputDir: (await args()).outputDir, maxSteps: 1, saveStrategy: 'no' },
  });
  await trainer.train();
  expect(trainer.state.globalStep).toBe(1);
});

test('KTO takes pairs apart in evaluate(), too', async () => {
  await using attune = await start();
  const trainer = new KTOTrainer({
    ...(await common(attune)),
    evalDataset: pairs.slice(0, 4),
    args: await args(),
  });
  const own = await trainer.evaluate();
  const given = await trainer.evaluate(pairs.slice(0, 4));
  expect(given.evalLoss).toBe(own.evalLoss);
  const named = await trainer.evaluate({ some: pairs.slice(0, 4) });
  expect(named.evalSomeLoss).toBe(own.evalLoss);
});

describe('batches', () => {
  for (const [name, Class, own] of [
    ['dpo with sft', DPOTrainer, { lossType: ['sigmoid', 'sft'] }],
    ['orpo', ORPOTrainer, {}],
    ['cpo', CPOTrainer, {}],
  ] as const)
    test(`${name}: k micro-batches are one batch`, async () => {
      const runs = [];
      for (const [size, steps] of [
        [8, 1],
        [2, 4],
      ] as const) {
        await using attune = await start();
        const trainer = new (Class as typeof DPOTrainer)({
          ...(await common(attune)),
          args: {
            ...(await args()),
            ...(own as object),
            perDeviceTrainBatchSize: size,
            gradientAccumulationSteps: steps,
          },
        });
        await trainer.train();
        runs.push(
          trainer.state.logHistory
            .filter((row) => 'gradNorm' in row)
            .flatMap(({ loss, gradNorm }) => [loss as number, gradNorm as number]),
        );
      }
      for (const [i, value] of runs[0]!.entries()) expect(runs[1]![i]).toBeCloseTo(value, 8);
    });
});

describe('a reference that is kept in a file', () => {
  test('gives the same losses, is found again, and refuses another model', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'attune-align-')), 'reference.jsonl');
    const run = async (reference?: { precomputed: string }) => {
      await using attune = await start();
      const trainer = new DPOTrainer({
        ...(await common(attune)),
        ...(reference && { reference }),
        args: { ...(await args()), maxSteps: 4, perDeviceTrainBatchSize: 3 },
      });
      await trainer.train();
      return trainer.state.logHistory.map(({ loss }) => loss);
    };
    const recorded = await run();
    const stored = await run({ precomputed: file });
    for (const [i, loss] of stored.entries())
      if (loss !== undefined) expect(loss).toBeCloseTo(recorded[i] as number, 5);
    const text = await readFile(file, 'utf8');
    expect(text.trim().split('\n')).toHaveLength(1 + 16);
    expect(await run({ precomputed: file })).toEqual(stored);
    expect(await readFile(file, 'utf8')).toBe(text);
    await writeFile(file, text.replace('a frozen copy', 'another'));
    await expect(run({ precomputed: file })).rejects.toMatchObject({ code: 'REFERENCE_CACHE' });
    await writeFile(file, text.replaceAll(/"logProb":-/g, '"logProb":-9'));
    await expect(run({ precomputed: file })).rejects.toThrow(/other weights/);
    await writeFile(file, `${text}{"key": 3}\n`);
    await expect(run({ precomputed: file })).rejects.toThrow(/line 18/);
    await writeFile(file, 'a,b\n1,2\n');
    await expect(run({ precomputed: file })).rejects.toMatchObject({ code: 'REFERENCE_CACHE' });
  });
});

test('a folder of them has a file for each reference, and they are listed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-align-'));
  await writeFile(join(folder, 'notes.jsonl'), '{}\n');
  await using attune = await start();
  const trainer = new DPOTrainer({
    ...(await common(attune)),
    reference: { precomputed: folder },
    args: { ...(await args()), maxSteps: 1 },
  });
  await trainer.train();
  const [stored, ...others] = await storedReferences(folder);
  expect(others).toEqual([]);
  expect(stored!.model).toMatch(/tiny-llama: a frozen copy of the model/);
  expect(stored!.rows).toBe(16);
  expect(await storedReferences(join(folder, 'none'))).toEqual([]);
});

describe('what cannot be meant', () => {
  const refused = async (
    change: (parts: {
      model: Awaited<ReturnType<typeof load>>;
      attune: Attune;
    }) => Promise<unknown>,
  ) => {
    await using attune = await start();
    const model = await load(attune);
    return await change({ model, attune });
  };
  const make = (model: Awaited<ReturnType<typeof load>>, own: object, beside: object = {}) =>
    new DPOTrainer({
      model,
      trainDataset: pairs,
      ...beside,
      args: { outputDir: 'unused', ...own },
    } as ConstructorParameters<typeof DPOTrainer>[0]);

  test.each<[string, object, object, string]>([
    ['beta 0', { beta: 0 }, {}, 'PAIR_LOSS_OPTIONS'],
    ['a negative beta', { beta: -1 }, {}, 'PAIR_LOSS_OPTIONS'],
    ['weights for other losses', { lossWeights: [1, 2] }, {}, 'PAIR_LOSS_OPTIONS'],
    ['a loss that is none', { lossType: 'sigmoyd' }, {}, 'ARGUMENTS_INVALID'],
    ['a misspelt option', { labelSmothing: 0.1 }, {}, 'UNKNOWN_OPTION'],
    ['the base where there are no adapters', { reference: 'base' }, {}, 'REFERENCE'],
    ['an option in the wrong place', {}, { beta: 0.1 }, 'UNKNOWN_OPTION'],
  ])('%s', async (_, own, beside, code) => {
    await refused(async ({ model }) => {
      expect(() => make(model, own, beside)).toThrow(expect.objectContaining({ code }));
    });
  });

  test.each<[string, unknown, object, RegExp]>([
    ['a misspelt word', 'bas', {}, /reference is text "bas"/],
    ['null', null, {}, /reference is null/],
    ['a file that is no path', { precomputed: 5 }, {}, /Give 'base', 'initial'/],
    ['two of them', 'initial', { reference: 'initial' }, /among args and beside them/],
  ])('a reference: %s', async (_, reference, own, message) => {
    await refused(async ({ model }) => {
      expect(() => make(model, own, { reference })).toThrow(message);
      expect(() => make(model, own, { reference })).toThrow(
        expect.objectContaining({ code: 'REFERENCE' }),
      );
    });
  });

  test('a classifier as the reference', async () => {
    await refused(async ({ model, attune }) => {
      const reference = await AutoModelForSequenceClassification.fromPretrained(folder, { attune });
      expect(() => make(model, {}, { reference })).toThrow(/writes no text/);
    });
  });

  test('no objective, something else in its place, a name that nobody added', async () => {
    await refused(async ({ model }) => {
      const of = (objective: unknown) => () =>
        new AlignmentTrainer({ objective, model, trainDataset: pairs } as never);
      expect(of(undefined)).toThrow(/expected an alignment objective, found nothing/);
      expect(of({ beta: 0.1 })).toThrow(/expected an alignment objective/);
      expect(of('dopo')).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }));
      expect(() => new AlignmentTrainer(undefined as never)).toThrow(
        expect.objectContaining({ code: 'TRAINER_OPTION' }),
      );
    });
  });

  test('the model itself as its reference, and one of another Attune', async () => {
    await refused(async ({ model }) => {
      expect(() => make(model, {}, { reference: model })).toThrow(/nothing would hold it/);
      await using other = await start();
      const theirs = await load(other);
      expect(() => make(model, {}, { reference: theirs })).toThrow(/another Attune/);
    });
  });
});
