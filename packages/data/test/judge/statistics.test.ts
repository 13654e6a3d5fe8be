import { expect, test } from 'vitest';
import {
  bootstrapMean,
  cohenKappa,
  fleissKappa,
  normalQuantile,
  signTest,
  wilson,
} from '../../src/judge/statistics.js';

test("the normal distribution's quantiles", () => {
  expect(normalQuantile(0.95)).toBeCloseTo(1.959963984540054, 10);
  expect(normalQuantile(0.99)).toBeCloseTo(2.5758293035489004, 10);
});

test("Wilson's interval of 8 in 10, of none and of all", () => {
  expect(wilson(8, 10, 0.95)).toEqual({
    value: 0.8,
    low: expect.closeTo(0.4901624715578663, 9),
    high: expect.closeTo(0.9433178485456247, 9),
  });
  expect(wilson(0, 10, 0.95)).toEqual({ value: 0, low: 0, high: expect.closeTo(0.27753279, 7) });
  expect(wilson(10, 10, 0.95)!.high).toBe(1);
  expect(wilson(0, 0, 0.95)).toBeNull();
});

test('the sign test, against exact sums of binomial coefficients', () => {
  expect(signTest(8, 2)).toBeCloseTo(0.109375, 12);
  expect(signTest(60, 40)).toBeCloseTo(0.05688793364098078, 10);
  expect(signTest(5, 5)).toBe(1);
  expect(signTest(0, 0)).toBe(1);
  expect(signTest(5200, 4800)).toBeCloseTo(0.00006593515598686, 14);
});

test('the bootstrap covers the mean, and is the same for the same seed', () => {
  const values = Array.from({ length: 100 }, (_, i) => i % 10);
  const one = bootstrapMean(values, { confidence: 0.95, seed: 1 })!;
  expect(one).toEqual(bootstrapMean(values, { confidence: 0.95, seed: 1 }));
  expect(one.value).toBe(4.5);
  // +- 1.96 standard errors: sd of 0..9 is 2.872, of the mean of 100 0.287.
  expect(one.low).toBeCloseTo(4.5 - 0.563, 1);
  expect(one.high).toBeCloseTo(4.5 + 0.563, 1);
  expect(bootstrapMean([], { confidence: 0.95, seed: 1 })).toBeNull();
});

test('kappas of textbooks', () => {
  const words = (...counts: [string, string, number][]) =>
    counts.flatMap(([one, other, n]) => Array.from({ length: n }, () => [one, other] as const));
  const pairs = words(['y', 'y', 20], ['y', 'n', 5], ['n', 'y', 10], ['n', 'n', 15]);
  const [ones, others] = [pairs.map(([one]) => one), pairs.map(([, other]) => other)];
  expect(cohenKappa(ones, others)).toBeCloseTo(0.4, 12);
  expect(cohenKappa(['y'], ['y'])).toBeNull();
  expect(cohenKappa([], [])).toBeNull();
  // Fleiss 1971 as in Wikipedia: 14 raters, 10 items, 5 words.
  const table = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
  ];
  const rows = table.map((row) => row.flatMap((n, word) => Array<string>(n).fill(`${word}`)));
  expect(fleissKappa(rows)).toBeCloseTo(0.2099, 4);
});
