import { readFileSync } from 'node:fs';
import { dedupe, findLeaks } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { NearIndex, type ShingleUnit } from '../../src/dedup/nearIndex.js';
import { normalizeText } from '../../src/dedup/normalizeText.js';
import { TextBytes, TextStore } from '../../src/dedup/textStore.js';

interface Case {
  readonly unit: ShingleUnit;
  readonly texts: readonly string[];
  /** Pairs at 0.8: two places and the Jaccard similarity. */
  readonly pairs: readonly (readonly [number, number, number])[];
  readonly greedy: readonly number[];
  readonly components: readonly number[];
  readonly datasketch: readonly (readonly [number, number])[];
}

// parity/data/dedup.py
const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/dedup.json', import.meta.url), 'utf8'),
) as {
  readonly cases: readonly Case[];
  readonly leaks: {
    readonly n: number;
    readonly train: readonly string[];
    readonly eval: readonly string[];
    readonly leaks: readonly (readonly [number, number, number])[];
  };
};

const rowsOf = (texts: readonly string[]) => texts.map((text, place) => ({ text, place }));

describe('texts by NFKC, casefold and split of Python', () => {
  // parity/data/normalize.py
  const texts = JSON.parse(
    readFileSync(new URL('../fixtures/normalize.json', import.meta.url), 'utf8'),
  ) as Record<'equal' | 'different', readonly (readonly [string, string])[]> & {
    readonly space: readonly string[];
  };
  const normal = (text: string) =>
    normalizeText(`a${text}b`, { ignoreCase: true, ignoreSpace: true, ignoreWidth: true });

  test('equal ones of all scripts are equal, others are not', () => {
    expect(texts.equal.filter(([a, b]) => normal(a) !== normal(b))).toEqual([]);
    expect(texts.different.filter(([a, b]) => normal(a) === normal(b))).toEqual([]);
    expect(texts.space.filter((space) => normal(`${space} ${space}`) !== 'a b')).toEqual([]);
  });

  test('a leak in capitals is one', async () => {
    const text = 'die große Straße führt bis zum Fluß hinab';
    const [leak] = await findLeaks([{ text: text.toUpperCase() }], [{ text }]);
    expect(leak).toMatchObject({ overlap: 1 });
  });
});

describe.each(fixture.cases)(
  'by $unit',
  ({ unit, texts, pairs, greedy, components, datasketch }) => {
    test('pairs and their similarities are those of sets of Python strings', () => {
      const store = new TextStore();
      const bytes = new TextBytes();
      const index = new NearIndex(
        { threshold: 0.8, unit, size: 5, permutations: 128, banding: null, seed: 0 },
        store,
      );
      const found = new Map<string, number>();
      texts.forEach((text, row) => {
        const piece = bytes.of(text);
        index.prepare(piece);
        index.search((other, similarity) => {
          found.set(`${other} ${row}`, similarity);
          return true;
        });
        index.add(row, store.add(piece));
      });
      const expected = new Map(pairs.map(([a, b, similarity]) => [`${a} ${b}`, similarity]));
      expect([...found].sort()).toEqual([...expected].sort());
      // What datasketch names is unverified: some is none, and some is missing.
      const named = datasketch.filter(([a, b]) => expected.has(`${a} ${b}`));
      expect(named.every(([a, b]) => found.has(`${a} ${b}`))).toBe(true);
      expect(named.length).toBeLessThanOrEqual(found.size);
    });

    test.each([
      ['greedy', greedy],
      ['components', components],
    ] as const)('the rows that stay are those of %s', async (grouping, expected) => {
      const { rows } = await dedupe(rowsOf(texts), { near: { shingle: { unit }, grouping } });
      expect(rows.map(({ place }) => place)).toEqual(expected);
    });
  },
);

test('leaks are those of sets of Python tuples', async () => {
  const { n, train, eval: evaluation, leaks } = fixture.leaks;
  const found = await findLeaks(rowsOf(train), rowsOf(evaluation), {
    n,
    minOverlap: 0,
    text: ({ text }) => text as string,
  });
  expect(
    found.map(({ evalIndex, trainIndex, overlap }) => [evalIndex, trainIndex, overlap]),
  ).toEqual([...leaks].sort((a, b) => a[0] - b[0] || b[2] - a[2] || a[1] - b[1]));
});
