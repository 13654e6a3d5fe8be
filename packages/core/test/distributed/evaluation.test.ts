import {
  type Communicator,
  type ComputeMetrics,
  createAttune,
  type EvaluationTask,
  generateTask,
  loglikelihoodTask,
  ops,
  runEvaluationTask,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { inProcessWorld } from '@attune/core/testing';
import type { TextTokenizer } from '@attune/core/text';
import { type PreprocessLogits, shareRows } from '@attune/core/training';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  backendPlugin,
  Float32Backend,
  idRows,
  minuteLlama,
  temporaryFolder,
} from '../trainer/support.js';

/** Letters a to p are the ids 1 to 16. */
const letters = (encoded: string[] = []) =>
  ({
    eosToken: null,
    eosTokenId: null,
    encode: (text) => {
      encoded.push(text);
      return [...text].map((c) => (c === ' ' ? 0 : c.charCodeAt(0) - 96));
    },
    decode: (ids) => Array.from(ids, (id) => String.fromCharCode(96 + id)).join(''),
    applyChatTemplate: () => {
      throw new Error('no template');
    },
  }) as TextTokenizer;

interface Options {
  readonly batchSize?: number;
  readonly evalDataset?: ReturnType<typeof idRows>;
  readonly evaluationTasks?: readonly EvaluationTask[];
  readonly computeMetrics?: ComputeMetrics;
  readonly preprocess?: PreprocessLogits;
}

async function rankOf(
  communicator: Communicator | undefined,
  { batchSize = 2, preprocess, ...options }: Options,
) {
  const attune = await createAttune({
    plugins: [backendPlugin('float32', () => new Float32Backend())],
    logger: silentLogger,
    ...(communicator && { communicator }),
  });
  onTestFinished(() => attune.dispose());
  const encoded: string[] = [];
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune, 1),
    tokenizer: letters(encoded),
    ...options,
    ...(preprocess && { preprocessLogitsForMetrics: preprocess }),
    args: { outputDir: await temporaryFolder(), perDeviceEvalBatchSize: batchSize },
  });
  return { trainer, encoded };
}

/** The same on each of N ranks, and on one. */
async function onRanks<T>(
  worldSize: number,
  optionsOf: (rank: number | null) => Options,
  use: (made: Awaited<ReturnType<typeof rankOf>>) => Promise<T>,
): Promise<{ readonly all: T[]; readonly one: T }> {
  const one = await use(await rankOf(undefined, optionsOf(null)));
  const ranks = await Promise.all(
    inProcessWorld(worldSize).map((c) => rankOf(c, optionsOf(c.rank))),
  );
  return { all: await Promise.all(ranks.map(use)), one };
}

const timeless = (metrics: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(metrics).filter(([name]) => !/untime|PerSecond/.test(name)));

function expectClose(found: Readonly<Record<string, number>>, expected: typeof found): void {
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  for (const [name, value] of Object.entries(expected))
    expect(Math.abs(found[name]! - value), name).toBeLessThan(1e-6 * Math.max(1, value));
}

const accuracy: ComputeMetrics = ({ predictions, labelIds }) => {
  const [rows, length] = labelIds.shape as [number, number];
  let hits = 0;
  let sum = 0;
  for (let n = 0; n < rows; n++)
    for (let t = 1; t < length; t++) {
      const guess = predictions.data[n * length + t - 1]!;
      const label = labelIds.data[n * length + t]!;
      hits += Number(guess === label);
      sum += label === -100 ? 0 : (n + 1) * (100 * guess + label); // of the order, too
    }
  return { hits, sum };
};

describe.each([2, 3])('%i ranks share the rows of', (worldSize) => {
  test('computeMetrics and predict, and have the outputs of all in their order', async () => {
    const rowsOn = new Map<number | null, number>();
    const optionsOf = (rank: number | null): Options => ({
      batchSize: rank === null ? 2 * worldSize : 2,
      evalDataset: idRows(7),
      computeMetrics: accuracy,
      preprocess: (logits) => {
        rowsOn.set(rank, (rowsOn.get(rank) ?? 0) + logits.shape[0]!);
        return ops.argmax(logits);
      },
    });
    const { all, one } = await onRanks(worldSize, optionsOf, async ({ trainer }) => ({
      evaluated: timeless(await trainer.evaluate()),
      predicted: await trainer.predict(idRows(8)),
    }));
    expect(rowsOn.get(null)).toBe(15);
    for (let rank = 0; rank < worldSize; rank++) {
      expect(rowsOn.get(rank)).toBeGreaterThan(0);
      expect(rowsOn.get(rank)).toBeLessThan(15 / worldSize + 3);
    }
    expect([...rowsOn.values()].reduce((a, b) => a + b, 0)).toBe(30);
    for (const { evaluated, predicted } of all) {
      expectClose(evaluated, one.evaluated);
      expect(predicted.predictions).toEqual(one.predicted.predictions);
      expect(predicted.labelIds).toEqual(one.predicted.labelIds);
      expectClose(timeless(predicted.metrics), timeless(one.predicted.metrics));
    }
  });

  test('predict where some ranks have no row', async () => {
    const optionsOf = (rank: number | null): Options => ({
      batchSize: rank === null ? 2 * worldSize : 2,
    });
    const { all, one } = await onRanks(worldSize, optionsOf, ({ trainer }) =>
      trainer.predict(idRows(1)),
    );
    for (const { predictions, labelIds } of all) {
      expect(labelIds).toEqual(one.labelIds);
      expect(predictions.shape).toEqual(one.predictions.shape);
      expect(predictions.data).toEqual(one.predictions.data);
    }
  });

  test('evaluation tasks', async () => {
    const choices = Array.from({ length: 7 }, (_, i) => ({
      context: 'abcdefg'.slice(0, i + 1),
      choices: ['bc', 'd', 'nop'],
      answer: i % 3,
    }));
    const questions = Array.from({ length: 5 }, (_, i) => ({
      prompt: 'abcde'.slice(i),
      answer: 'b',
    }));
    const evaluationTasks = [
      loglikelihoodTask({ name: 'arc', rows: choices }),
      generateTask({
        name: 'gen',
        rows: questions,
        maxNewTokens: 3,
        filter: (text) => text.slice(0, 1),
      }),
    ];
    const { all, one } = await onRanks(
      worldSize,
      () => ({ evaluationTasks }),
      async ({ trainer, encoded }) => ({ metrics: timeless(await trainer.evaluate()), encoded }),
    );
    for (const { metrics, encoded } of all) {
      expect(metrics).toEqual(one.metrics);
      expect(encoded.length).toBeLessThan(one.encoded.length / worldSize + 12);
    }
    expect(all.reduce((n, { encoded }) => n + encoded.length, 0)).toBe(one.encoded.length);
  });
});

test('a task by hand looks at all rows, and asks nobody', async () => {
  const never = () => {
    throw new Error('asked');
  };
  const silent: Communicator = {
    ...{ rank: 1, worldSize: 2, allReduce: never, reduceScatter: never, allGather: never },
    ...{ broadcast: never, barrier: never, abort: never },
  };
  const { trainer } = await rankOf(silent, {});
  const rows = [{ context: 'ab', choices: ['c', 'd'], answer: 0 }];
  const task = loglikelihoodTask({ name: 'arc', rows });
  const context = { model: trainer.model, tokenizer: letters() };
  expect(await runEvaluationTask(task, context)).toHaveProperty('acc');
});

test('shareRows gives what one rank would have, in the order of the rows', async () => {
  const rows = [5, 3, 8, 1, 9];
  const doubled = async (own: readonly number[]) => own.map((row) => ({ twice: 2 * row }));
  const expected = await doubled(rows);
  expect(await shareRows(undefined, rows, doubled)).toEqual(expected);
  for (const worldSize of [1, 2, 3, 7]) {
    const seen: number[] = [];
    const all = await Promise.all(
      inProcessWorld(worldSize).map((communicator) =>
        shareRows(communicator, rows, (own) => {
          seen.push(...own);
          return doubled(own);
        }),
      ),
    );
    for (const result of all) expect(result).toEqual(expected);
    expect(seen.sort()).toEqual([...rows].sort());
  }
});
