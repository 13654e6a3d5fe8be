import { Rng } from '@attune/core/util';
import { describe, expect, it } from 'vitest';
import { applyRepetitionPenalty } from '../../../src/models/generation/penalties.js';
import {
  applyMinP,
  applyTemperature,
  applyTopK,
  applyTopP,
  argmax,
  sample,
} from '../../../src/tensor/sampling.js';
import { fixtureJson } from '../support.js';

const never = Number.NEGATIVE_INFINITY;
const tied = [2, 1, 0.5, -1, 2, -3];
/** Probabilities 0.4436, 0.1632, 0.0990, 0.0221, 0.2691, 0.0030. */
const scores = [2, 1, 0.5, -1, 1.5, -3];

function after(row: readonly number[], apply: (scores: Float64Array) => void): number[] {
  const out = Float64Array.from(row);
  apply(out);
  return [...out];
}

/** `scores` with everything but these ids dropped. */
const only = (row: readonly number[], ...ids: number[]): number[] =>
  row.map((s, i) => (ids.includes(i) ? s : never));

describe('as the processors of transformers 5.23', () => {
  it('repetition penalty: each seen id once, towards less likely on both sides of 0', () => {
    const ours = after(tied, (s) => applyRepetitionPenalty(s, [0, 3, 3], 1.5));
    expect(ours).toEqual([2 / 1.5, 1, 0.5, -1.5, 2, -3]);
  });

  it('temperature', () => {
    expect(after(tied, (s) => applyTemperature(s, 0.5))).toEqual([4, 2, 1, -2, 4, -6]);
  });

  it.each([
    [1, [0, 4]], // a tie with the k-th stays
    [2, [0, 4]],
    [3, [0, 1, 4]],
    [10, [0, 1, 2, 3, 4, 5]],
  ])('top-k %d', (k, kept) => {
    expect(after(tied, (s) => applyTopK(s, k))).toEqual(only(tied, ...kept));
  });

  it.each([
    [0, [0]],
    [0.4, [0]],
    [0.45, [0, 4]],
    [0.7, [0, 4]],
    [0.9, [0, 1, 2, 4]],
    [0.99, [0, 1, 2, 3, 4]],
    [1, [0, 1, 2, 3, 4, 5]],
  ])('top-p %d', (p, kept) => {
    expect(after(scores, (s) => applyTopP(s, p))).toEqual(only(scores, ...kept));
  });

  it.each([
    [0, [0, 1, 2, 3, 4, 5]],
    [0.2, [0, 1, 2, 4]],
    [0.3, [0, 1, 4]],
    [0.5, [0, 4]],
    [1, [0]],
  ])('min-p %d', (p, kept) => {
    expect(after(scores, (s) => applyMinP(s, p))).toEqual(only(scores, ...kept));
  });
});

it('argmax takes the first of equals', () => {
  expect(argmax(tied)).toBe(0);
});

it('sampling follows the probabilities and never draws what was dropped', () => {
  const rng = new Rng(7);
  const counts = [0, 0, 0];
  const row = Float64Array.of(Math.log(0.7), never, Math.log(0.3));
  const draws = 4000;
  for (let i = 0; i < draws; i++) counts[sample(row, rng)]!++;
  expect(counts[1]).toBe(0);
  // Three standard deviations of a binomial: sqrt(0.7 * 0.3 / 4000) = 0.0072.
  expect(Math.abs(counts[0]! / draws - 0.7)).toBeLessThan(0.022);
});

// Row 121: each processor alone, on the same numbers.
describe('row 121', () => {
  const { cases } = fixtureJson('row121-logits-processors.json');
  const processors: Record<string, (s: Float64Array, seen: readonly number[], by: number) => void> =
    {
      'repetition penalty': applyRepetitionPenalty,
      temperature: (s, _, by) => applyTemperature(s, by),
      'top-k': (s, _, by) => applyTopK(s, by),
      'top-p': (s, _, by) => applyTopP(s, by),
      'min-p': (s, _, by) => applyMinP(s, by),
    };
  it.each(cases as { name: string; inputs: Named; outputs: Named }[])('$name', (c) => {
    const [, name, by] = /^(.*) ([\d.]+)$/.exec(c.name)!;
    const { logits, seen } = c.inputs;
    const [rows, width] = logits!.shape as [number, number];
    for (let r = 0; r < rows; r++) {
      const row = (t: { data: unknown[] }, size: number) =>
        t.data.slice(r * size, (r + 1) * size).map(Number);
      const ours = Float64Array.from(row(logits!, width));
      processors[name!]!(ours, row(seen!, seen!.shape[1]!), Number(by));
      const theirs = row(c.outputs.scores!, width);
      for (let i = 0; i < width; i++)
        if (Number.isFinite(theirs[i])) expect(ours[i]).toBeCloseTo(theirs[i]!, 5);
        else expect(ours[i]).toBe(theirs[i]);
    }
  });
});

type Named = Record<string, { shape: number[]; data: unknown[] }>;
