import { Rng } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { type Embedder, selectDiverse } from '../../src/index.js';
import { kCenter, reprFilter } from '../../src/selection/kCenter.js';
import { tfIdf } from '../../src/selection/tfIdf.js';
import { DenseVectors } from '../../src/selection/vectorSet.js';
import { CountingCache } from './support.js';

/** Points of a sphere. */
function points(rng: Rng, count: number, dimension = 3): DenseVectors {
  const data = new Float32Array(count * dimension);
  for (let i = 0; i < count; i++) {
    const vector = Array.from({ length: dimension }, () => rng.normal());
    const length = Math.hypot(...vector);
    data.set(
      vector.map((x) => x / length),
      i * dimension,
    );
  }
  return new DenseVectors(data, count, dimension);
}

/** Largest Euclidean distance of a point to the nearest of some. */
function radius(vectors: DenseVectors, chosen: readonly number[]): number {
  let largest = 0;
  for (let i = 0; i < vectors.count; i++) {
    const nearest = Math.min(...chosen.map((c) => Math.max(0, vectors.distance(i, c))));
    largest = Math.max(largest, Math.sqrt(2 * nearest));
  }
  return largest;
}

function* subsets(n: number, k: number, from = 0): Generator<number[]> {
  if (k === 0) yield [];
  else
    for (let i = from; i <= n - k; i++)
      for (const rest of subsets(n, k - 1, i + 1)) yield [i, ...rest];
}

test('greedy k-center is at most twice as far as the best choice', () => {
  const rng = new Rng(3);
  for (let round = 0; round < 60; round++) {
    const n = 2 + rng.below(8);
    const k = 1 + rng.below(n);
    const vectors = points(rng, n);
    const scores = Float64Array.from({ length: n }, () => rng.uniform());
    const chosen = kCenter(vectors, { count: k, scores });
    expect(new Set(chosen).size).toBe(k);
    const best = Math.min(...[...subsets(n, k)].map((subset) => radius(vectors, subset)));
    expect(radius(vectors, chosen)).toBeLessThanOrEqual(2 * best + 1e-3);
    // It starts with the best score.
    expect(scores[chosen[0]!]).toBe(Math.max(...scores));
  }
});

test('the filter: those chosen are apart, and each other one is near to a better one', () => {
  const rng = new Rng(5);
  for (let round = 0; round < 40; round++) {
    const n = 1 + rng.below(40);
    const vectors = points(rng, n);
    const scores = Float64Array.from({ length: n }, () => rng.below(5));
    const { chosen, tooNear } = reprFilter(vectors, { count: n, scores }, 0.4);
    for (const [i, a] of chosen.entries())
      for (const b of chosen.slice(0, i))
        expect(vectors.distance(a, b)).toBeGreaterThanOrEqual(0.4);
    for (let i = 0; i < n; i++) {
      if (chosen.includes(i)) continue;
      const other = tooNear[i]!;
      expect(vectors.distance(other, i)).toBeLessThan(0.4);
      const isBefore = scores[other] === scores[i] ? other < i : scores[other]! > scores[i]!;
      expect(isBefore).toBe(true);
    }
    const few = reprFilter(vectors, { count: 3, scores }, 0.4).chosen;
    expect(few).toEqual(chosen.slice(0, 3));
  }
});

test('tf-idf: as scikit-learn defines it', async () => {
  async function* texts() {
    yield 'the cat sat';
    yield 'the cat, the dog';
    yield 'a bird';
  }
  const vectors = await tfIdf(texts());
  const idf = (d: number) => Math.log(4 / (1 + d)) + 1;
  const one = { the: idf(2), cat: idf(2), sat: idf(1) };
  const two = { the: 2 * idf(2), cat: idf(2), dog: idf(1) };
  const length = (v: object) => Math.hypot(...Object.values(v));
  const cosine = (one.the * two.the + one.cat * two.cat) / length(one) / length(two);
  expect(1 - vectors.distance(0, 1)).toBeCloseTo(cosine, 6);
  expect(vectors.distance(1, 0)).toBeCloseTo(vectors.distance(0, 1), 6);
  expect(vectors.distance(0, 2)).toBe(1);
  expect(vectors.distance(1, 1)).toBeCloseTo(0, 6);
});

describe('selectDiverse', () => {
  const topics = ['red apple pie', 'blue ocean wave', 'green forest path'];
  const rows = Array.from({ length: 30 }, (_, id) => ({
    id,
    score: (id * 7) % 30,
    text: `${topics[id % 3]} ${topics[id % 3]} number${id}`,
  }));

  test.each(['k-center', 'repr-filter'] as const)('%s: one row of each topic', async (method) => {
    const threshold = method === 'repr-filter' ? { threshold: 0.6 } : {};
    const options = { method, count: 3, ...threshold, by: 'score' };
    const { rows: chosen, dropped } = await selectDiverse(rows, options);
    expect(chosen.map(({ id }) => (id as number) % 3).sort()).toEqual([0, 1, 2]);
    const ids = chosen.map(({ id }) => id as number);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    // The best score is among them.
    expect(ids).toContain(rows.find(({ score }) => score === 29)!.id);
    expect(dropped).toHaveLength(27);
    const again = await selectDiverse(rows, options);
    expect(again.rows).toEqual(chosen);
  });

  test('what is no text, and options that are not read', async () => {
    await expect(selectDiverse(rows, { count: 1, text: () => 3 as never })).rejects.toThrow(
      'DATA_TEXT: selectDiverse: text gave number 3 for rows[0]',
    );
    for (const [options, message] of [
      [{ count: 1, threshold: 0.5 }, 'threshold belongs to the method "repr-filter"'],
      [{ count: 1, by: [] }, 'by is []'],
    ] as const)
      expect(() => selectDiverse(rows, options as never)).toThrow(message);
  });

  test('the filter may leave fewer rows than the budget, and says to what they are near', async () => {
    const options = { method: 'repr-filter', count: 10, threshold: 0.6, by: 'score' } as const;
    const { rows: chosen, dropped, report } = await selectDiverse(rows, options);
    // The best row of each topic.
    expect(chosen.map(({ score }) => score).sort()).toEqual([27, 28, 29]);
    expect(report.dropped).toEqual({ 'too near': 27 });
    expect(dropped[0]!.detail).toMatch(/^cosine distance 0\.\d{4} to row \d+ of the stage$/);
    expect(report.facts.selectDiverse).toEqual({ method: 'repr-filter', of: 30, chosen: 3 });
  });

  test('several columns are multiplied', async () => {
    const given = [
      { text: 'same words', complexity: 5, quality: 1 },
      { text: 'same words', complexity: 3, quality: 3 },
      { text: 'same words', complexity: 1, quality: 6 },
      { text: 'same words', quality: 6 },
    ];
    const { rows: chosen, dropped } = await selectDiverse(given, {
      by: ['complexity', 'quality'],
      method: 'repr-filter',
      count: 2,
    });
    expect(chosen).toEqual([given[1]]);
    expect(dropped.map(({ reason, detail }) => [reason, detail?.slice(0, 24)])).toContainEqual([
      'no score',
      'no number in "complexity',
    ]);
  });

  test('takes an embedder, and keeps its vectors', async () => {
    let asked = 0;
    const embedder: Embedder = {
      name: 'numbers',
      fingerprint: () => 1,
      embed: async (texts) => {
        asked += texts.length;
        return texts.map((text) => Float32Array.of(Number(text.at(-1)) < 5 ? 1 : -1, 0.1));
      },
    };
    const cache = new CountingCache();
    const options = { embedder, count: 2 };
    const { rows: chosen } = await selectDiverse(rows.slice(0, 10), options, { cache });
    expect(chosen.map(({ id }) => id)).toEqual([0, 5]);
    expect(asked).toBe(10);
    const again = await selectDiverse(rows.slice(0, 10), options, { cache });
    expect(again.rows).toEqual(chosen);
    expect(asked).toBe(10);
  });

  test.each([
    [1, 'gave 1 vectors for 30 texts', () => [Float32Array.of(1)]],
    [
      2,
      'gave a vector of 2 numbers after one of 1',
      (texts: readonly string[]) => texts.map((_, i) => new Float32Array(i === 3 ? 2 : 1)),
    ],
    [
      3,
      'gave numbers that are not finite for text "',
      (texts: readonly string[]) => texts.map((_, i) => Float32Array.of(i === 4 ? Number.NaN : 1)),
    ],
    [4, 'gave nothing (undefined) for 30 texts', () => undefined as never],
    [
      5,
      'gave no numbers for a text',
      (texts: readonly string[]) => texts.map(() => new Float32Array(0)),
    ],
  ])('an embedder that is wrong is an error: %i', async (_n, message, vectors) => {
    const embedder: Embedder = {
      name: 'wrong',
      fingerprint: () => 1,
      embed: async (texts) => vectors(texts),
    };
    await expect(selectDiverse(rows, { embedder, count: 2 })).rejects.toThrow(message);
  });

  test('odd budgets and texts', async () => {
    const none = await selectDiverse(rows, { count: 0 });
    expect(none.report.dropped).toEqual({ 'over budget': 30 });
    expect((await selectDiverse(rows, { count: 99 })).rows).toEqual(rows);
    expect((await selectDiverse([], { ratio: 0.5 })).rows).toEqual([]);
    expect((await selectDiverse(rows, { ratio: 0.1 })).rows).toHaveLength(3);
    const signs = [{ text: '!!!' }, { text: ' ' }, { text: '???' }, { text: '!!!' }];
    const { rows: left, report } = await selectDiverse(signs, { count: 2 });
    expect(left).toEqual([{ text: '!!!' }, { text: '???' }]);
    expect(report.dropped).toEqual({ 'no text': 1, 'over budget': 1 });
    expect(() => selectDiverse(rows, {})).toThrow('give count or ratio, one of the two');
  });
});
