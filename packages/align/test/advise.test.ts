import * as align from '@attune/align';
import { type AdviseAlignmentOptions, adviseAlignment } from '@attune/align';
import * as core from '@attune/core';
import { describe, expect, test } from 'vitest';

interface Case {
  readonly given: AdviseAlignmentOptions;
  readonly method: string;
  readonly args?: object;
  readonly says?: RegExp;
  readonly alternatives?: readonly string[];
}

const cases: Readonly<Record<string, Case>> = {
  'pairs and an SFT model': {
    given: { pairs: 5000 },
    method: 'dpo',
    args: { lossType: 'sigmoid' },
    says: /one copy of the base/,
  },
  'pairs and room for two models': {
    given: { pairs: 5000, memory: 'ample' },
    method: 'dpo',
    args: { learningRate: 1e-6 },
  },
  'labels alone': { given: { labels: 5000 }, method: 'kto', says: /one by one/ },
  'more labels than pairs': { given: { pairs: 100, labels: 5000 }, method: 'kto' },
  'more pairs than labels': { given: { pairs: 5000, labels: 100 }, method: 'dpo' },
  'few good labels': {
    given: { labels: 5000, goodShare: 0.2 },
    method: 'kto',
    args: { desirableWeight: 4 },
  },
  'many good labels': {
    given: { labels: 5000, goodShare: 0.8 },
    method: 'kto',
    args: { undesirableWeight: 4 },
  },
  'good labels alone': {
    given: { labels: 5000, goodShare: 1 },
    method: 'kto',
    says: /needs both kinds/,
  },
  'no SFT model': { given: { pairs: 5000, hasSftModel: false }, method: 'orpo' },
  'no SFT model, noisy pairs': {
    given: { pairs: 5000, hasSftModel: false, noise: 0.2 },
    method: 'orpo',
    says: /no rule for wrong labels/,
  },
  'noisy pairs': {
    given: { pairs: 5000, noise: 0.2 },
    method: 'dpo',
    args: { lossType: 'robust', labelSmoothing: 0.2 },
    alternatives: ['dpo', 'ipo'],
  },
  'a little noise': { given: { pairs: 5000, noise: 0.02 }, method: 'dpo', args: { beta: 0.1 } },
  'a tight device': {
    given: { pairs: 5000, memory: 'tight' },
    method: 'simpo',
    alternatives: ['dpo', 'orpo', 'cpo'],
  },
  'a reward function': {
    given: { reward: 'function' },
    method: 'grpo',
    alternatives: ['rloo', 'ppo'],
  },
  'a reward function beside pairs': { given: { reward: 'function', pairs: 9 }, method: 'grpo' },
  'a reward model': { given: { reward: 'model' }, method: 'ppo', alternatives: ['rloo', 'dpo'] },
  'a reward, and a model that cannot do the task': {
    given: { reward: 'function', hasSftModel: false },
    method: 'sft',
    alternatives: ['grpo'],
  },
  'few pairs': { given: { pairs: 50 }, method: 'dpo', says: /50 rows are few/ },
};

describe('adviseAlignment', () => {
  for (const [name, { given, method, args = {}, says = /./, alternatives }] of Object.entries(
    cases,
  ))
    test(`${name}: ${method}`, () => {
      const advice = adviseAlignment(given);
      expect(advice.method).toBe(method);
      expect(advice.args).toMatchObject(args);
      expect(advice.reasons.join(' ')).toMatch(says);
      if (alternatives) expect(advice.alternatives.map((a) => a.method)).toEqual(alternatives);
      expect(String(advice)).toContain(advice.trainer);
      expect(advice.withAdapter).toBe(given.memory !== 'ample');
      expect(advice).toEqual({ ...adviseAlignment(given), toString: expect.any(Function) });
    });

  test('the weights that it advises are within what KTO asks for', () => {
    for (const goodShare of [0.05, 0.3, 0.5, 0.55, 0.6, 0.9]) {
      const { desirableWeight = 1, undesirableWeight = 1 } = adviseAlignment({
        labels: 1000,
        goodShare,
      }).args as Record<string, number>;
      const ratio = (goodShare * desirableWeight) / ((1 - goodShare) * undesirableWeight);
      expect(ratio).toBeGreaterThan(0.99);
      expect(ratio).toBeLessThan(1.34);
    }
  });

  test('the trainers that it names exist', () => {
    const classes = new Set([...Object.keys(align), ...Object.keys(core)]);
    for (const { given } of Object.values(cases))
      expect(classes).toContain(adviseAlignment(given).trainer);
  });

  test('what says nothing is refused', () => {
    expect(() => adviseAlignment({})).toThrow(/nothing that rates/);
    expect(() => adviseAlignment({ pairs: 10, noise: 0.5 })).toThrow(/noise is 0.5/);
    expect(() => adviseAlignment({ pair: 10 } as never)).toThrow(/"pair"/);
    expect(() => adviseAlignment({ pairs: -1 })).toThrow(/pairs/);
  });
});
