import { type EvaluationTask, generateTask, loglikelihoodTask } from '@attune/core';
import { evaluationTaskKit } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';

const choices = loglikelihoodTask({
  name: 'arc',
  rows: [
    { context: 'a bad bee', choices: ['did', 'can'], answer: 0 },
    { context: 'no', choices: ['good', 'bed', 'i'], answer: [1, 2] },
    { context: 'on a dim', choices: ['lake', 'ocean'], answer: 1 },
  ],
});
const words = generateTask({
  name: 'gsm8k',
  maxNewTokens: 3,
  stopStrings: ['.'],
  rows: [
    { prompt: 'a bad bee', answer: 'a' },
    { prompt: 'no', answer: ['o', 'n'] },
    { prompt: 'on a dim', answer: '' },
  ],
});
for (const task of [choices, words])
  for (const { name, run } of evaluationTaskKit(task)) test(name, run);

describe('the kit', () => {
  /** What the first check that fails says. */
  const failure = async (change: Partial<EvaluationTask>) => {
    for (const { run } of evaluationTaskKit({ ...choices, ...change }))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };
  let calls = 0;

  test.each<[string, Partial<EvaluationTask>, RegExp]>([
    ['a name that files cannot hold', { name: 'ARC-easy' }, /it is called "ARC-easy"/],
    [
      'a metric that files cannot hold',
      { evaluate: async () => ({ acc_norm: 1 }) },
      /a metric is called "acc_norm"/,
    ],
    ['a number that is none', { evaluate: async () => ({ acc: Number.NaN }) }, /acc is NaN/],
    [
      'numbers that depend on the batch',
      { evaluate: async ({ batchSize }) => ({ acc: batchSize }) },
      /in batches of 1 it has \{"acc":1\}/,
    ],
    [
      'numbers that are drawn',
      { evaluate: async () => ({ acc: ++calls }) },
      /in batches of 2 it has/,
    ],
    [
      'a task that does not hear',
      { evaluate: ({ signal: _, ...context }) => choices.evaluate(context) },
      /a stop before it began is taken without an error/,
    ],
    [
      'one that hears at the beginning only',
      {
        evaluate: async ({ signal, ...context }) => {
          signal?.throwIfAborted();
          return choices.evaluate(context);
        },
      },
      /it goes on for all \d+ passes/,
    ],
    [
      'a tensor that stays',
      {
        evaluate: async (context) => {
          const { engine } = context.model;
          engine.keep(engine.zeros([2]));
          return choices.evaluate(context);
        },
      },
      /8 bytes are left behind/,
    ],
  ])('finds %s', async (_, change, message) => {
    expect(await failure(change)).toMatch(message);
  });
});
