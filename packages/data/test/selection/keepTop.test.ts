import { Rng } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { keepTop } from '../../src/index.js';
import { topPlaces } from '../../src/selection/topPlaces.js';

const ids = (rows: readonly { readonly [name: string]: unknown }[]) => rows.map(({ id }) => id);
const rowsOf = (scores: readonly unknown[]) => scores.map((ifd, id) => ({ id, ifd }));

describe('keepTop', () => {
  test('leaves out what is above max, then all but a share of what is left, in the order of the rows', async () => {
    const scores = [0.5, 1.2, 0.9, 1, 0.7, 1.0001, 0.8];
    const { rows, dropped } = await keepTop(rowsOf(scores), { by: 'ifd', ratio: 0.5, max: 1 });
    // 5 are left, int(2.5) of them stay.
    expect(ids(rows)).toEqual([2, 3]);
    expect(dropped.map(({ reason }) => reason).sort()).toEqual([
      'above max',
      'above max',
      'not in the top',
      'not in the top',
      'not in the top',
    ]);
    expect(dropped[0]!.detail).toBe('ifd 1.2');
  });

  test.each([
    [{ count: 2 }, [1, 4]],
    [{ count: 2, order: 'lowest' }, [2, 3]],
    [{ count: 9 }, [0, 1, 2, 3, 4]],
    [{ count: 0 }, []],
    [{ ratio: 1 }, [0, 1, 2, 3, 4]],
    [{ min: 2 }, [0, 1, 4]],
    [{ max: 2 }, [0, 2, 3]],
    [{}, [0, 1, 2, 3, 4]],
  ] as const)('%j', async (options, expected) => {
    const { rows } = await keepTop(rowsOf([2, 3, 1, 1, 3]), { by: 'ifd', ...options });
    expect(ids(rows)).toEqual(expected);
  });

  test('among equal scores the first rows stay', async () => {
    const { rows } = await keepTop(rowsOf([1, 2, 1, 1, 1]), { by: 'ifd', count: 3 });
    expect(ids(rows)).toEqual([0, 1, 2]);
  });

  test('rows without a number are dropped', async () => {
    const given = rowsOf([1, Number.NaN, '2', null, undefined, 3n, Number.POSITIVE_INFINITY]);
    const { rows, dropped } = await keepTop(given, { by: 'ifd', ratio: 1 });
    expect(ids(rows)).toEqual([0, 5]);
    expect(new Set(dropped.map(({ reason }) => reason))).toEqual(new Set(['no score']));
    expect(dropped).toHaveLength(5);
  });

  test('a column that no row has is an error', async () => {
    await expect(keepTop(rowsOf([1]), { by: 'IFD', ratio: 1 })).rejects.toThrow(
      /no row has a number in the column "IFD"[\s\S]*"id", "ifd"/,
    );
    expect((await keepTop([], { by: 'ifd', ratio: 1 })).rows).toEqual([]);
  });

  test('ratio and count exclude each other', () => {
    expect(() => keepTop([], { by: 'ifd', ratio: 1, count: 1 })).toThrow('not both');
  });
});

test('topPlaces: as sorting stably would choose', () => {
  const rng = new Rng(7);
  for (let round = 0; round < 300; round++) {
    const n = 1 + rng.below(30);
    const scores = Float64Array.from({ length: n }, () => rng.below(6) - 2);
    const count = rng.below(n + 2);
    for (const order of ['highest', 'lowest'] as const) {
      const sign = order === 'highest' ? -1 : 1;
      const sorted = [...scores.keys()].sort((a, b) => sign * (scores[a]! - scores[b]!) || a - b);
      const expected = sorted.slice(0, count).sort((a, b) => a - b);
      const isTop = topPlaces(scores, count, order);
      expect([...isTop.keys()].filter((i) => isTop[i])).toEqual(expected);
    }
  }
});
