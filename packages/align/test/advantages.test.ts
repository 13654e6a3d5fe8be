import { expect, test } from 'vitest';
import { grpoAdvantages, rlooAdvantages } from '../src/rollout/advantages.js';

const matrix = (rewards: number[], numGenerations = rewards.length) => ({
  perFunction: [rewards],
  weights: [1],
  numGenerations,
});
const { NaN: none } = Number;
const near = (found: ArrayLike<number>, expected: readonly number[]) => {
  expect(found.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(found[i]).toBeCloseTo(value, 6);
  });
};

test('row 91: rewards 1, 0, 0, 1 have the advantages ±0.8658754', () => {
  const { advantages, fracZeroStd } = grpoAdvantages(matrix([1, 0, 0, 1]));
  near(advantages, [0.8658754, -0.8658754, -0.8658754, 0.8658754]);
  expect(fracZeroStd).toBe(0);
});

test('row 93: leave-one-out advantages of 1, 0, 0, 1 are ±2/3', () => {
  near(rlooAdvantages(matrix([1, 0, 0, 1])).advantages, [2 / 3, -2 / 3, -2 / 3, 2 / 3]);
});

test('a completion that nobody rates takes part in no mean and has the advantage 0', () => {
  near(grpoAdvantages(matrix([1, none, 0, 1]), { scaleRewards: 'none' }).advantages, [
    1 / 3,
    0,
    -2 / 3,
    1 / 3,
  ]);
  near(rlooAdvantages(matrix([1, none, 0, 1])).advantages, [0.5, 0, -1, 0.5]);
});

test('a completion that is alone with a reward in its group has the advantage 0', () => {
  const alone = matrix([1, none, none, none]);
  near(grpoAdvantages(alone).advantages, [0, 0, 0, 0]);
  near(rlooAdvantages(alone).advantages, [0, 0, 0, 0]);
});

test('a function without an opinion adds nothing to the sum of the others', () => {
  const { rewards } = grpoAdvantages({
    perFunction: [
      [1, none],
      [none, 2],
    ],
    weights: [1, 0.5],
    numGenerations: 2,
  });
  expect([...rewards]).toEqual([1, 1]);
});

test('equal rewards are no signal: advantages 0, counted as a group without spread', () => {
  const { advantages, fracZeroStd } = grpoAdvantages(matrix([1, 1, 0, 1], 2));
  near(advantages, [0, 0, -0.5 / (Math.SQRT1_2 + 1e-4), 0.5 / (Math.SQRT1_2 + 1e-4)]);
  expect(fracZeroStd).toBe(0.5);
});

test('one completion a prompt, as an evaluation may draw it, has no advantage', () => {
  expect([...grpoAdvantages(matrix([1, 0], 1)).advantages]).toEqual([0, 0]);
  expect([...rlooAdvantages(matrix([1, 0], 1)).advantages]).toEqual([0, 0]);
});

test('the KL of a completion is taken from its reward before the others are compared', () => {
  const penalties = [0.5, 0];
  near(rlooAdvantages(matrix([1, 1]), { penalties }).advantages, [-0.5, 0.5]);
  expect([...rlooAdvantages(matrix([1, 1]), { penalties }).rewards]).toEqual([1, 1]);
});
