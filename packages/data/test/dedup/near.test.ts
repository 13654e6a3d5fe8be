import type { Row } from '@attune/core';
import { Rng } from '@attune/core/util';
import { dedupe } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { bandingFor, recallAt } from '../../src/dedup/minHash.js';
import { NearIndex, type NearSettings } from '../../src/dedup/nearIndex.js';
import { TextBytes, TextStore } from '../../src/dedup/textStore.js';
import { edited, jaccard, shinglesOf, words } from './texts.js';

const settings: NearSettings = {
  threshold: 0.8,
  unit: 'word',
  size: 5,
  permutations: 128,
  banding: null,
  seed: 0,
};

/** Every pair at the threshold that an index finds: "3 7" with its similarity. */
function pairsOf(
  texts: readonly string[],
  changes: Partial<NearSettings> = {},
  store = new TextStore(),
) {
  const bytes = new TextBytes();
  const index = new NearIndex({ ...settings, ...changes }, store);
  const pairs = new Map<string, number>();
  texts.forEach((text, row) => {
    const piece = bytes.of(text);
    index.prepare(piece);
    index.search((of, similarity) => {
      pairs.set(`${of} ${row}`, similarity);
      return true;
    });
    index.add(row, store.add(piece));
  });
  return { pairs, index };
}

/** The same by sets of strings. */
function allPairs(texts: readonly string[], threshold: number, unit: 'word' | 'character') {
  const pairs = new Map<string, number>();
  const sets = texts.map((text) => shinglesOf(text, 5, unit));
  sets.forEach((set, row) => {
    for (let of = 0; of < row; of++) {
      const similarity = jaccard(sets[of]!, set);
      if (similarity >= threshold) pairs.set(`${of} ${row}`, similarity);
    }
  });
  return pairs;
}

/** Texts, each followed by changed copies. */
const family = (count: number, length: number, edits: readonly number[]) =>
  Array.from({ length: count }, (_, i) => words(length, i)).flatMap((text, i) => [
    text,
    ...edits.map((number, j) => edited(text, number, 100 * i + j)),
  ]);

describe('pairs', () => {
  test.each(['word', 'character'] as const)('are those of sets of %ss', (unit) => {
    const texts = family(40, unit === 'word' ? 120 : 25, unit === 'word' ? [1, 2, 3, 6] : [1, 2]);
    const { pairs } = pairsOf(texts, { unit });
    const expected = allPairs(texts, 0.8, unit);
    expect(expected.size).toBeGreaterThan(60);
    // No pair that is none; all but one or two of those that are.
    for (const [pair, similarity] of pairs) expect(similarity).toBe(expected.get(pair));
    expect(pairs.size).toBeGreaterThan(0.98 * expected.size);
  });

  test('are the same in whatever order texts come', () => {
    const texts = family(60, 50, [1, 1, 2]);
    const order = new Rng(3).permutation(texts.length);
    const named = ({ pairs }: ReturnType<typeof pairsOf>, places: ArrayLike<number>) =>
      [...pairs.keys()]
        .map((pair) => pair.split(' ').map((i) => places[Number(i)]!))
        .map((pair) => pair.sort((a, b) => a - b).join(' '))
        .sort();
    const straight = named(
      pairsOf(texts),
      Array.from(texts, (_, i) => i),
    );
    expect(straight.length).toBeGreaterThan(60);
    expect(named(pairsOf(Array.from(order, (i) => texts[i]!)), order)).toEqual(straight);
  });

  test('are the same where texts are in a file', () => {
    // 200 KB: several pages, none of which may stay.
    const texts = family(6, 1200, [8, 17, 34]);
    using store = new TextStore(0, 2 ** 16);
    const { pairs } = pairsOf(texts, {}, store);
    expect(pairs.size).toBeGreaterThan(15);
    expect([...pairs]).toEqual([...pairsOf(texts).pairs]);
  });

  test('a threshold of 1 finds equal sets, and no others', () => {
    const twice = 'a b c d e f g a b c d e f g a b c d e f g';
    const texts = ['x y', 'a b c d e f g a b c d e f g', twice, 'x y', 'y x', 'a b c d e f g'];
    expect([...pairsOf(texts, { threshold: 1 }).pairs.keys()]).toEqual(['1 2', '0 3']);
  });

  test('texts shorter than a shingle are one shingle', () => {
    const texts = ['one', 'two', 'one two', 'one', 'one two'];
    expect([...pairsOf(texts).pairs.keys()]).toEqual(['0 3', '2 4']);
    expect([...pairsOf(texts, { unit: 'character' }).pairs.keys()]).toEqual(['0 3', '2 4']);
  });

  test('the bands find 99.5 % of what is right at the threshold', () => {
    expect(bandingFor(0.8, 128)).toEqual({ bands: 21, rows: 6 });
    expect(recallAt(0.8, { bands: 16, rows: 8 })).toBeCloseTo(0.947, 3);
    for (const threshold of [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1]) {
      const banding = bandingFor(threshold, 128);
      expect(banding.bands * banding.rows).toBeLessThanOrEqual(128);
      expect(recallAt(threshold, banding)).toBeGreaterThanOrEqual(0.995);
    }
  });
});

describe('words or characters', () => {
  const near = async (texts: readonly string[], unit?: 'word' | 'character') => {
    const shingle = unit && { unit };
    const rows: readonly Row[] = texts.map((text) => ({ text }));
    const { dropped } = await dedupe(rows, { exact: false, near: { ...(shingle && { shingle }) } });
    return dropped.map(({ row, detail }) => [row.origin, detail]).length;
  };

  test('short rows are compared by characters', async () => {
    const text = words(20, 1);
    const changed = `${text.slice(0, 60)}x${text.slice(60)}`;
    const similarity = (unit: 'word' | 'character') =>
      jaccard(shinglesOf(text, 5, unit), shinglesOf(changed, 5, unit));
    expect(similarity('word')).toBeLessThan(0.8);
    expect(similarity('character')).toBeGreaterThan(0.8);
    expect(await near([text, changed])).toBe(1);
    expect(await near([text, changed], 'word')).toBe(0);
  });

  test('so is text without spaces', async () => {
    const text = Array.from({ length: 400 }, (_, i) =>
      String.fromCodePoint(0x4e00 + ((i * 7919) % 3000)),
    ).join('');
    const lines = (changed: string) => changed.replace(/(.{10})/g, '$1 ');
    const changed = `${text.slice(0, 200)}的${text.slice(200)}`;
    expect(await near([lines(text), text, changed])).toBe(1);
    expect(await near([text, changed], 'word')).toBe(0);
  });

  test('a row of 31 words finds one of 29, in both orders', async () => {
    const text = words(29, 5);
    expect(await near([text, `${text} ka to`])).toBe(1);
    expect(await near([`${text} ka to`, text])).toBe(1);
  });
});

describe('what would take N^2', () => {
  test('30,000 rows that are equal are one cluster', async () => {
    const rows = Array.from({ length: 30_000 }, () => ({ text: 'the same' }));
    const { report } = await dedupe(rows, { exact: false, near: true });
    expect(report).toMatchObject({ rowsOut: 1, dropped: { 'near-duplicate': 29_999 } });
    expect(report.warnings[0]).toMatch('30000 rows of 30000 are copies of rows[0]');
  });

  test('a template with other words in it is not compared with all of its rows', () => {
    const template = words(45, 9);
    const texts = Array.from({ length: 800 }, (_, i) => `${template} ${words(14, 50 + i)}`);
    const { pairs, index } = pairsOf(texts);
    expect(pairs.size).toBe(0);
    expect(index.crowded).toBeGreaterThan(500);
  });

  test('a row of half a million words is compared; one of five million letters stays as it is', () => {
    const long = words(1000, 3).concat(' ').repeat(500);
    const text = 'abcdefg'.repeat(715_000);
    const { pairs, index } = pairsOf([long, `${long}end`, text, text], { unit: 'auto' });
    expect([...pairs.keys()]).toEqual(['0 1']);
    expect(index.tooLong).toBe(2);
  });
});

describe('components', () => {
  // Each has something in common with the next one, and the ends with nothing.
  const parts = words(400, 11).split(' ');
  const chain = Array.from({ length: 30 }, (_, i) => parts.slice(4 * i, 4 * i + 100).join(' '));
  const rows = [...chain.map((text) => ({ text })), { text: words(100, 99) }];

  test('leave one row of a chain, where greedy leaves what is not near a row that stays', async () => {
    const greedy = await dedupe(rows, { near: true });
    expect(greedy.rows).toHaveLength(11);
    const { rows: kept, dropped } = await dedupe(rows, { near: { grouping: 'components' } });
    expect(kept).toEqual([rows[0], rows[30]]);
    expect(dropped.map(({ detail }) => detail)).toEqual(
      Array.from({ length: 29 }, () => 'of rows[0], linked by pairs'),
    );
  });

  test('that are too large are thinned as by greedy', async () => {
    const greedy = await dedupe(rows, { near: true });
    const { rows: kept } = await dedupe(rows, {
      near: { grouping: 'components', maxComponent: 29 },
    });
    expect(kept).toEqual(greedy.rows);
  });

  test('the row that stays is the one that is wanted', async () => {
    const { rows: kept } = await dedupe(
      rows.map((row, score) => ({ ...row, score })),
      { near: { grouping: 'components' }, keep: { column: 'score' } },
    );
    expect(kept.map(({ score }) => score)).toEqual([29, 30]);
  });

  test('5,000 rows that are nearly equal are joined without N^2 comparisons', async () => {
    const text = words(40, 1);
    const many = Array.from({ length: 5000 }, (_, i) => ({ text: `${text} ${i}` }));
    const { report } = await dedupe(many, {
      near: { grouping: 'components', shingle: { unit: 'word' }, maxComponent: 20_000 },
    });
    expect(report.rowsOut).toBe(1);
  });
});
