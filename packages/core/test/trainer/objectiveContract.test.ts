import {
  type AttuneError,
  causalLmObjective,
  createAttune,
  IterableDataset,
  type Objective,
  silentLogger,
  Trainer,
} from '@attune/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { idRows, ListLogger, minuteLlama, temporaryFolder } from './support.js';

const base = causalLmObjective({ maxLength: 16 });

interface Making {
  readonly rows?: ConstructorParameters<typeof Trainer>[0]['trainDataset'];
  readonly args?: object;
  readonly logger?: ListLogger;
}

/** A trainer with an objective that TypeScript has not judged. */
async function make(objective: unknown, { rows = idRows(4), args = {}, logger }: Making = {}) {
  const attune = await createAttune({ backend: 'reference', logger: logger ?? silentLogger });
  onTestFinished(() => attune.dispose());
  return new Trainer({
    model: await minuteLlama(attune),
    objective: objective as Objective,
    trainDataset: rows,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      maxSteps: 2,
      saveStrategy: 'no',
      ...args,
    },
  });
}

const { collate, countItems, loss, name } = base;
const whole = { name, collate, countItems, loss };

describe('an objective that is none is refused before anything is read', () => {
  test.each([
    [
      'one of before rules about rows and updates',
      {
        ...whole,
        encode: base.rows!.encode,
        lengthOf: () => 3,
        prepare: async (_: unknown, group: unknown) => group,
      },
      /OBJECTIVE_INVALID: Trainer: objective "causal-lm":\n {2}encode, lengthOf: no members of an objective, but of its rows\n {2}prepare takes more than its context/,
      /rows: \{ encode, lengthOf \}.*async \*updates\(group, context\) \{ yield \{ batches \}; \}/,
    ],
    [
      'members that are missing',
      { name: 'mine', collate, count_items: countItems },
      /objective "mine":\n {2}count_items: no member of an objective. Did you mean countItems\?\n {2}missing: countItems, loss/,
    ],
    [
      'a function that is called almost as another',
      { ...whole, async *update() {} },
      /update: no member of an objective. Did you mean updates\?/,
    ],
    [
      'members of another kind',
      { ...whole, updates: [], rows: () => 0, updatesPerGroup: 0, isLogLikelihood: 'yes' },
      /updates is an array of 0, not a function\n.*updatesPerGroup is number 0, not a whole number\n.*rows is a function rows, not an object\n.*isLogLikelihood is text "yes", not true or false/,
    ],
    ['no name', { collate, countItems, loss }, /objective:\n {2}missing: name/],
    ['a promise', Promise.resolve(base), /objective is a promise \(not awaited\)/],
    ['what a function makes', () => ({ ...whole, loss: undefined }), /missing: loss/],
  ])('%s', async (_, objective, message, remedy = /writing-an-objective/) => {
    const error = await make(objective).catch((thrown: unknown) => thrown);
    expect(String(error)).toMatch(message);
    expect((error as AttuneError).remedy).toMatch(remedy);
  });

  test('an instance of a class is one, and members of its own are let alone', async () => {
    class Mine {
      readonly name = 'mine';
      readonly #inner = base;
      readonly losses: number[] = [];
      helper() {}
      collate(examples: readonly never[]) {
        return this.#inner.collate(examples);
      }
      countItems(batch: Parameters<Objective['countItems']>[0]) {
        return this.#inner.countItems(batch);
      }
      loss(...given: Parameters<Objective['loss']>) {
        return this.#inner.loss(...given);
      }
    }
    const ids = [1, 2, 3];
    const rows = [{ inputIds: ids, labels: ids }];
    const trainer = await make(new Mine(), { rows });
    expect((await trainer.train()).globalStep).toBe(2);
    const extra = { ...base, stats: { seen: 1 }, note: () => 0 };
    expect((await (await make(extra)).train()).globalStep).toBe(2);
  });
});

describe('what updates() gives', () => {
  test.each([
    ['a promise', { ...base, updates: async () => [] }, /updates\(\) gave a promise/],
    ['nothing', { ...base, updates() {} }, /updates\(\) gave nothing/],
    [
      'batches, not updates',
      {
        ...base,
        async *updates(group: readonly unknown[]) {
          yield group;
        },
      },
      /updates\(\) yielded an array of 1/,
    ],
    [
      'no batches',
      {
        ...base,
        async *updates() {
          yield { batches: [] };
        },
      },
      /updates\(\) yielded an update without batches/,
    ],
  ])('%s', async (_, objective, message) => {
    await expect((await make(objective)).train()).rejects.toThrow(message);
    await expect((await make(objective)).train()).rejects.toThrow(/OBJECTIVE_UPDATES/);
  });
});

describe('an objective that makes no update', () => {
  const none = {
    ...base,
    async *updates() {},
  };
  const stream = () =>
    IterableDataset.from(async function* () {
      yield* idRows(4);
    }, 'stream');

  test('ends a stream, which has no end, with an error', async () => {
    const logger = new ListLogger();
    const trainer = await make(none, { rows: stream(), args: { maxSteps: 5 }, logger });
    await expect(trainer.train()).rejects.toThrow(
      /NO_UPDATES: objective "causal-lm" made no update of the last 1000 groups/,
    );
    expect(logger.lines.filter((line) => line.includes('no update'))).toEqual([
      'warn: objective "causal-lm" made no update of the last 100 groups of micro-batches.',
    ]);
  });

  test('is an error at the end of a run in which there was none', async () => {
    const trainer = await make(none, { args: { maxSteps: -1, numTrainEpochs: 2 } });
    await expect(trainer.train()).rejects.toThrow(
      /NO_UPDATES: objective "causal-lm" made no update of all 4 groups/,
    );
  });

  test('of some groups goes on', async () => {
    let calls = 0;
    const some = {
      ...base,
      async *updates(batches: readonly never[]) {
        if (++calls % 150 === 0) yield { batches };
      },
    };
    const trainer = await make(some, { rows: stream(), args: { maxSteps: 8 } });
    expect((await trainer.train()).globalStep).toBe(8); // 1200 groups
    const last = {
      ...base,
      async *updates(batches: readonly never[], { step }: { step: number }) {
        if (step < 2) yield { batches };
      },
    };
    const few = await make(last, { args: { maxSteps: -1, numTrainEpochs: 2 } });
    expect(await few.train()).toMatchObject({ globalStep: 1 });
  });
});
