import { algebra } from '@attune/core/tensor';
import { Rng } from '@attune/core/util';
import { describe, expect, it, test } from 'vitest';

const { electSigns, mergeAgreeing } = algebra;
const of = (...values: number[]) => Float64Array.of(...values);

describe('pruning', () => {
  const tensor = of(1, -3, 0.5, 2, -2, 0);

  it('keeps the largest, of equal ones the first', () => {
    expect([...algebra.pruneByMagnitude(tensor, 0.34)]).toEqual([0, -3, 0, 2, 0, 0]);
    expect([...algebra.pruneByMagnitude(tensor, 0)]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(algebra.pruneByMagnitude(tensor, 1)).toBe(tensor);
    expect([...algebra.keepLargest(tensor, 3)]).toEqual([0, -3, 0, 2, -2, 0]);
  });

  // mergekit keeps nothing where gamma n is below 1, for it cuts [n_bot : -0].
  it.each([
    { density: 0.5, gamma: 0.2, kept: [1, 0, 0, 2, -2, 0] },
    { density: 0.5, gamma: 0, kept: [0, -3, 0, 2, -2, 0] },
    { density: 0.9, gamma: 0.5, kept: [1, 0, 0.5, 2, -2, 0] },
    { density: 0, gamma: 0.2, kept: [0, 0, 0, 0, 0, 0] },
  ])('breadcrumbs: density $density, outliers $gamma', ({ density, gamma, kept }) => {
    expect([...algebra.pruneOutliers(tensor, density, gamma)]).toEqual(kept);
  });

  it('gives what is left the sum of magnitudes of the whole', () => {
    const left = algebra.rescaleToL1(of(0, -3, 0, 2, 0, 0), tensor);
    expect([...left]).toEqual([0, (-3 * 8.5) / 5, 0, (2 * 8.5) / 5, 0, 0]);
    const nothing = of(0, 1e-8);
    expect(algebra.rescaleToL1(nothing, tensor.subarray(0, 2))).toBe(nothing);
  });
});

describe('dropping at random', () => {
  test('DARE: what is kept is divided by the density, and the mean stays', () => {
    const many = new Float64Array(100_000).fill(1);
    const pruned = algebra.dropAndRescale(many, 0.3, new Rng(5));
    const mean = pruned.reduce((a, b) => a + b, 0) / many.length;
    expect(Math.abs(mean - 1)).toBeLessThan(0.02); // 3 standard deviations: 3 sqrt(.7 / .3 / 1e5)
    expect(new Set(pruned)).toEqual(new Set([0, 1 / 0.3]));
    expect(algebra.dropAndRescale(many, 1, new Rng(5))).toBe(many);
  });

  test('a seed gives a mask again, whether it is scaled or not', () => {
    const tensor = Float64Array.from({ length: 50 }, (_, i) => i + 1);
    const scaled = algebra.dropAndRescale(tensor, 0.4, new Rng(3));
    const plain = algebra.dropAtRandom(tensor, new Float64Array(50).fill(0.4), new Rng(3));
    expect([...plain].map((value) => value / 0.4)).toEqual([...scaled]);
    expect(algebra.dropAndRescale(tensor, 0.4, new Rng(4))).not.toEqual(scaled);
  });

  test('DELLA: the larger in its row, the more probable', () => {
    const matrix = { rows: 2, columns: 3, data: of(1, -3, 2, 5, 0, -4) };
    const probabilities = algebra.keepProbabilities(matrix, 0.5, 0.2);
    [0.3, 0.7, 0.5, 0.7, 0.3, 0.5].forEach((p, i) => {
      expect(probabilities[i]).toBeCloseTo(p, 12);
    });
    const column = { rows: 3, columns: 1, data: of(1, -3, 2) };
    expect([...algebra.keepProbabilities(column, 0.5, 0.2)]).toEqual([0.5, 0.5, 0.5]);
  });
});

describe('TIES', () => {
  const pair = [of(1, -2, 0.1, 3), of(-0.5, -1, 0.2, -4)];
  const ones = { weights: [1, 1], divisors: [1, 1] };

  it('[1, -2, .1, 3] and [-.5, -1, .2, -4] at density .5', () => {
    const trimmed = pair.map((tensor) => algebra.pruneByMagnitude(tensor, 0.5));
    const signs = electSigns(trimmed, 'total');
    expect([...signs]).toEqual([1, -1, 1, -1]);
    expect([...mergeAgreeing(trimmed, signs, ones)]).toEqual([0, -1.5, 0, -4]);
  });

  it('elects by number', () => {
    const signs = electSigns(pair, 'frequency');
    const merged = mergeAgreeing(pair, signs, ones);
    expect([...merged]).toEqual([1, -1.5, expect.closeTo(0.15, 10), 3]);
  });

  it('of one tensor is that tensor', () => {
    const [one] = pair;
    const signs = electSigns([one!], 'total');
    expect(mergeAgreeing([one!], signs, { weights: [1], divisors: [1] })).toEqual(one);
  });

  it('as mergekit: weights first, divided by the weights that agree', () => {
    const weights = [0.2, 0.6];
    const weighted = pair.map((tensor, t) => tensor.map((value) => value * weights[t]!));
    const signs = electSigns(weighted, 'total');
    expect([...signs]).toEqual([-1, -1, 1, -1]);
    const merged = mergeAgreeing(weighted, signs, { weights: [1, 1], divisors: weights });
    const expected = [-0.5, -1.25, 0.175, -4];
    merged.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 12);
    });
    const summed = mergeAgreeing(weighted, signs, { weights: [1, 1], divisors: null });
    expect([...summed].map((value) => value.toFixed(6))).toEqual([
      '-0.300000',
      '-1.000000',
      '0.140000',
      '-2.400000',
    ]);
  });
});

test('task arithmetic adds what each training added', () => {
  expect([...algebra.weightedSum([of(1, 2), of(10, -20)], [2, -0.5])]).toEqual([-3, 14]);
});
