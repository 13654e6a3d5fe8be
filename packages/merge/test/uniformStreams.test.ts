import { expect, test } from 'vitest';
import { uniformStreams } from '../src/arithmetic/uniformStreams.js';

const take = (fill: (into: Float32Array) => void, ...counts: number[]): number[] =>
  counts.flatMap((count) => {
    const into = new Float32Array(count);
    fill(into);
    return [...into];
  });

test('seed, name and stream each give other numbers; the pieces do not matter', () => {
  const numbers = take(uniformStreams(7, 'model.norm.weight')(1), 10);
  expect(take(uniformStreams(7, 'model.norm.weight')(1), 1, 2, 7)).toEqual(numbers);
  for (const [seed, name, stream] of [
    [8, 'model.norm.weight', 1],
    [7 + 2 ** 32, 'model.norm.weight', 1],
    [7, 'model.norm.weighs', 1],
    [7, 'nodel.norm.weight', 1],
    [7, 'model.norm.weight', 2],
  ] as const)
    expect(take(uniformStreams(seed, name)(stream), 10)).not.toEqual(numbers);
});

test('uniform in [0, 1): mean, variance and neighbours within 4 standard errors', () => {
  const n = 2 ** 18;
  const numbers = take(uniformStreams(0, 'tensor')(0), n);
  const mean = numbers.reduce((a, b) => a + b, 0) / n;
  const variance = numbers.reduce((a, b) => a + (b - 0.5) ** 2, 0) / n;
  const neighbours =
    numbers.reduce((a, b, i) => a + (b - 0.5) * ((numbers[i + 1] ?? 0.5) - 0.5), 0) / n;
  expect(Math.min(...numbers.slice(0, 1000))).toBeGreaterThanOrEqual(0);
  expect(numbers.every((x) => x < 1)).toBe(true);
  expect(Math.abs(mean - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
  expect(Math.abs(variance - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n));
  expect(Math.abs(neighbours)).toBeLessThan(4 * (1 / 12 / Math.sqrt(n)));
});
