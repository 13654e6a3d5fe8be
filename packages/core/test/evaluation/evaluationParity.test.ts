import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CallbackContext,
  createAttune,
  EarlyStoppingCallback,
  type EvalMetrics,
  SFTTrainer,
  silentLogger,
  TrainerState,
} from '@attune/core';
import {
  exactMatch,
  meansWithErrors,
  parseTrainingArguments,
  scoreChoices,
  textPerplexities,
  trainingArgumentsSchema,
} from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { rotateCheckpoints } from '../../src/trainer/run/checkpoint/checkpointFolders.js';
import { writeManifest } from '../../src/trainer/run/checkpoint/checkpointManifest.js';
import { fixtureJson, temporaryFolder, tinyLlama } from '../trainer/support.js';

interface Case<A, E> {
  readonly name: string;
  readonly attrs: A;
  readonly expected: E;
}
const casesOf = <A, E>(file: string) =>
  (fixtureJson(file) as unknown as { cases: [Case<A, E>, ...Case<A, E>[]] }).cases;

test('row 31: the loss of an evaluation is the mean over tokens; that of transformers follows from it and the batches', async () => {
  const [{ attrs, expected }] = casesOf<
    { rows: object[] },
    {
      tokens: number[];
      tokenWeighted: number;
      meanTokenAccuracy: number;
      trainer: Record<string, number>;
    }
  >('row31-evaluation-loss.json');
  const { rows } = attrs;
  const { tokens, tokenWeighted, meanTokenAccuracy, trainer } = expected;
  const attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const model = await tinyLlama(attune);
  const evaluate = async (some: object[], perDeviceEvalBatchSize: number) =>
    new SFTTrainer({ model, args: { perDeviceEvalBatchSize } }).evaluate(some);
  for (const [size, theirs] of Object.entries(trainer)) {
    const ours = await evaluate(rows, Number(size));
    expect(ours.evalLoss / tokenWeighted).toBeCloseTo(1, 5);
    expect(ours.evalMeanTokenAccuracy).toBe(meanTokenAccuracy);
    // Each batch's mean weighs as many times as the batch has rows.
    let sum = 0;
    for (let at = 0; at < rows.length; at += Number(size)) {
      const batch = rows.slice(at, at + Number(size));
      sum += batch.length * (await evaluate(batch, batch.length)).evalLoss;
    }
    expect(sum / rows.length / theirs).toBeCloseTo(1, 5);
  }
  expect(tokens.reduce((a, b) => a + b)).toBeGreaterThan(30);
});

describe('row 33: early stopping', () => {
  test.each(
    casesOf<
      { values: number[]; patience: number; threshold: number; greaterIsBetter: boolean },
      { counters: number[]; stops: boolean[]; state: object }
    >('row33-early-stopping.json'),
  )('$name', ({ attrs, expected }) => {
    const { values, patience, threshold, greaterIsBetter } = attrs;
    const callback = new EarlyStoppingCallback({
      earlyStoppingPatience: patience,
      earlyStoppingThreshold: threshold,
    });
    const context = {
      args: { metricForBestModel: 'evalLoss', greaterIsBetter },
      state: { bestMetric: null as number | null, globalStep: 0 },
      control: { shouldTrainingStop: false },
      logger: silentLogger,
    };
    const seen = values.map((evalLoss) => {
      callback.onEvaluate(context as unknown as CallbackContext, { evalLoss } as EvalMetrics);
      const { bestMetric } = context.state;
      const isBetter =
        bestMetric === null || (greaterIsBetter ? evalLoss > bestMetric : evalLoss < bestMetric);
      if (isBetter) context.state.bestMetric = evalLoss;
      return [callback.counter, context.control.shouldTrainingStop];
    });
    expect(seen.map(([counter]) => counter)).toEqual(expected.counters);
    expect(seen.map(([, stop]) => stop)).toEqual(expected.stops);
    expect(callback.exportState()).toEqual(expected.state);
  });
});

describe('row 34: rotation', () => {
  test.each(
    casesOf<{ steps: number[]; best: number | null; limit: number }, { kept: number[] }>(
      'row34-rotation.json',
    ),
  )('$name', async ({ attrs, expected }) => {
    const folder = await temporaryFolder();
    const at = (step: number) => join(folder, `checkpoint-${step}`);
    const run = { id: 'this', started: '2026-01-01T00:00:00Z' };
    for (const step of attrs.steps) {
      await mkdir(at(step));
      await writeManifest(at(step), run);
    }
    const best = attrs.best === null ? null : at(attrs.best);
    await rotateCheckpoints(folder, run, at(Math.max(...attrs.steps)), attrs.limit, best);
    const kept = (await readdir(folder)).map((name) => Number(name.split('-')[1]));
    expect(kept.sort((a, b) => a - b)).toEqual(expected.kept);
  });
});

test('row 35: trainer_state.json of transformers is read, and written again as it was', () => {
  const [{ attrs }] = casesOf<{ text: string }, never>('row35-trainer-state.json');
  const json = JSON.parse(attrs.text);
  const state = new TrainerState();
  state.load(json);
  expect(state).toMatchObject({
    epoch: 1.5,
    globalStep: 9,
    bestMetric: 0.75,
    bestGlobalStep: 6,
    numInputTokensSeen: 1234,
    logHistory: [
      { loss: 2.5, gradNorm: 1.25, learningRate: 5e-5, epoch: 0.5, step: 3 },
      { evalLoss: 0.75, evalMathLoss: 0.5, evalRuntime: 0.1, epoch: 1, step: 6 },
    ],
  });
  Object.assign(state, { maxSteps: 12, numTrainEpochs: 2 });
  const args = parseTrainingArguments(trainingArgumentsSchema, {
    loggingSteps: 3,
    evalSteps: 3,
    saveSteps: 3,
    perDeviceTrainBatchSize: 4,
  });
  const written = state.toJson(args, json.stateful_callbacks);
  expect(JSON.parse(written)).toEqual(json);
  // The same layout too: keys sorted, two spaces; Python writes 1.0 and 5e-05 where JSON needs 1
  // and 0.00005.
  const layout = (text: string) => text.replace(/-?\d[\d.e-]*/g, '#');
  expect(layout(written)).toBe(layout(attrs.text));
});

describe('row 123: scores of benchmarks', () => {
  const cases = casesOf<never, never>('row123-scores.json');
  const of = (name: string) =>
    cases.find((c) => c.name === name) as unknown as { attrs: never; expected: never };

  test('acc, accNorm, accBytes and their errors', () => {
    const { attrs, expected } = of('choices');
    const { questions } = attrs as {
      questions: { choices: string[]; logLikelihoods: number[]; answer: number | number[] }[];
    };
    const rows = questions.map((q) => ({ ...scoreChoices(q.logLikelihoods, q.choices, q.answer) }));
    expect(rows).toEqual((expected as { rows: object[] }).rows);
    const summary = meansWithErrors(rows);
    for (const [name, value] of Object.entries((expected as { summary: object }).summary))
      expect(summary[name]).toBeCloseTo(value as number, 12);
  });

  test('exactMatch', () => {
    const { sets } = of('exact-match').attrs as {
      sets: {
        options: { regexesToIgnore?: string[] };
        pairs: [string, string][];
        scores: number[];
      }[];
    };
    for (const { options, pairs, scores } of sets) {
      const regexesToIgnore = options.regexesToIgnore?.map((source) => new RegExp(source));
      const ours = pairs.map(([prediction, reference]) =>
        exactMatch(prediction, reference, {
          ...options,
          ...(regexesToIgnore ? { regexesToIgnore } : { regexesToIgnore: [] }),
        }),
      );
      expect(ours).toEqual(scores);
    }
  });

  test('perplexities of texts', () => {
    const { attrs, expected } = of('texts');
    const { texts, logLikelihoods } = attrs as { texts: string[]; logLikelihoods: number[] };
    const ours = textPerplexities(texts, logLikelihoods);
    for (const [name, value] of Object.entries(expected))
      expect(ours[name as keyof typeof ours]).toBeCloseTo(value as number, 10);
  });
});
