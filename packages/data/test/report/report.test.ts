import { Rng } from '@attune/core/util';
import { defineDataStage, pipeline, reportHtml } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { escaped } from '../../src/report/html.js';
import { RowCounter } from '../../src/report/rowStatistics.js';
import { ValueBars } from '../../src/report/valueBars.js';

const hostile = [
  { text: '<script>alert(1)</script><img src=x onerror=alert(2)>', score: 0.5 },
  { text: `"'</pre></details></main><style>body{display:none}</style>`, score: 0.25 },
  { text: '\u202eevil\u202c \0 \ud800 مرحبا بالعالم 👩‍👩‍👧', score: 3 },
  { text: `long ${'x'.repeat(1_000_000)}`, score: 1 },
  { text: 'plain', score: 1 },
  { text: 'plain', score: 1 },
  { text: 'other', score: 2 },
];

test('one file: nothing is loaded or run, rows are text, long ones are cut', async () => {
  const { report } = await pipeline([...hostile, 7 as never])
    .filter({ keep: ({ text }) => (text as string).length < 7, reason: '<b>not plain</b>' })
    .dedupe({ exact: true })
    .split({ testSize: 1 })
    .collect();
  const page = reportHtml(report, 'A <title>');
  expect(page).toContain("default-src 'none'");
  expect(page).toContain('<h1>A &lt;title&gt;</h1>');
  expect(page).not.toMatch(/<script|<img|<link|https?:|url\(|<b>not/);
  expect(page.match(/<\/main>/g)).toHaveLength(1);
  expect(page.match(/<style>/g)).toHaveLength(1);
  expect(page).toContain('&lt;script&gt;alert(1)');
  expect(page).toContain('مرحبا بالعالم 👩‍👩‍👧');
  expect([...page].some((c) => /[\u202a-\u202e\0]/u.test(c))).toBe(false);
  expect(Buffer.from(page).toString()).toBe(page);
  expect(page).toMatch(/… 99[\d,]+ more characters/);
  expect(page.length).toBeLessThan(60_000);
  // What the report says stands there.
  expect(page).toContain('&lt;b&gt;not plain&lt;/b&gt;: 4 of 7 rows, 57.1 %');
  expect(page).toContain('rows[7]: a row is an object with named fields');
  expect(page).toContain('<b>8</b><span>rows in</span>');
  expect(page).toContain('<b>2</b><span>rows out</span>');
  expect(page).toContain('<b>0</b><span>groups on two sides</span>');
});

test('facts of one kind are a table; counts are bars, and no share of a whole', async () => {
  const stage = defineDataStage({
    name: 'facts',
    options: z.strictObject({}),
    async *run(rows, _options, context) {
      yield* rows;
      context.fact('lengths', { characters: { p50: 4, max: 9 }, words: { p50: 1, max: 2 } });
      context.fact('near', { bands: 21, rows: 6 });
    },
  });
  const { report } = await pipeline([{ text: 'a' }])
    .stage(stage)
    .collect();
  const page = reportHtml(report);
  const [head, row] = [
    '<tr><th dir="auto"></th><th dir="auto">p50</th><th dir="auto">max</th></tr>',
    '<tr><td dir="auto">characters</td><td class="n">4</td><td class="n">9</td></tr>',
  ];
  expect(page).toContain(head + row);
  expect(page).toMatch(/bands<\/span>.{0,60}<span class="n">21 <small><\/small>/);
  expect(page).toContain('Where the time went');
  expect(page).toMatch(/counting and writing.*\d\.\d s/);
});

test('an empty run has a page, too', async () => {
  const { report } = await pipeline([]).collect();
  expect(reportHtml(report)).toContain('No row was.');
});

test('escaped: markup, control characters and half characters', () => {
  expect(escaped(`<a href="x">'&\n\t`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp;\n\t');
  expect(escaped('a\0b\u202ec\x9b')).toBe('a\\u0000b\\u202ec\\u009b');
  expect(escaped('\ud83d')).toBe('\ufffd');
});

test('rows are counted as they pass: every number is in one bar, whatever the span', () => {
  const counter = new RowCounter();
  const scores = Array.from({ length: 5000 }, (_, i) =>
    i < 1500 ? (i % 100) / 100 : i % 1000 === 0 ? -1e9 * i : (i % 333) - 100,
  );
  for (const [i, score] of scores.entries())
    counter.add({
      text: 'x'.repeat(i % 300),
      score,
      language: i % 3 === 0 ? 'de' : 'en',
      id: `${i}`,
    });
  const { characters, numbers, values } = counter.summary();
  const score = numbers.score!;
  expect(score.count).toBe(5000);
  expect(score.histogram.counts.reduce((a, b) => a + b)).toBe(5000);
  expect(score.least).toBe(Math.min(...scores));
  expect(score.mean).toBeCloseTo(scores.reduce((a, b) => a + b) / 5000, 3);
  const { edges, counts } = score.histogram;
  expect(edges[0]).toBeLessThanOrEqual(score.least);
  expect(edges.at(-1)).toBeGreaterThanOrEqual(score.largest);
  for (const [bar, count] of counts.entries())
    expect(count).toBe(scores.filter((x) => x >= edges[bar]! && x < edges[bar + 1]!).length);
  expect(characters!.largest).toBe(299);
  expect(characters!.histogram.counts.reduce((a, b) => a + b)).toBe(5000);
  for (const [bar, count] of characters!.histogram.counts.entries()) {
    const [from, to] = [characters!.histogram.edges[bar]!, characters!.histogram.edges[bar + 1]!];
    const within = scores.filter((_, i) => i % 300 >= from && i % 300 < to).length;
    expect(count).toBe(within);
  }
  expect(values).toEqual({ language: { en: 3333, de: 1667 } });
  const few = new RowCounter();
  for (const score of [0.25, 0.5, 1]) few.add({ text: 'a', score });
  const bars = few.summary().numbers.score!.histogram.counts;
  expect([bars[0], bars.at(-1), bars.reduce((a, b) => a + b)]).toEqual([1, 1, 3]);
});

describe('bars of a histogram', () => {
  const barsOf = (values: readonly number[]) => {
    const bars = new ValueBars();
    for (const value of values) bars.add(value);
    const { edges, counts } = bars.histogram();
    expect(counts.reduce((a, b) => a + b, 0)).toBe(values.length);
    expect(edges).toEqual([...new Set(edges)].sort((a, b) => a - b));
    for (const [bar, count] of counts.entries())
      expect(values.filter((v) => v >= edges[bar]! && v < edges[bar + 1]!)).toHaveLength(count);
    return { edges, counts, used: counts.filter((count) => count > 0).length };
  };
  const rng = new Rng(0);
  const many = (length: number, draw: () => number) => Array.from({ length }, draw);

  test.each<[string, readonly number[], number]>([
    ['lengths of one size', many(5000, () => 10_000 + rng.below(51)), 20],
    [
      'the same, and two that are very long',
      [...many(5000, () => 100 + rng.below(31)), 1e6, 3e6],
      15,
    ],
    ['lengths over powers of ten', many(5000, () => Math.floor(2 ** (20 * rng.uniform()))), 18],
    [
      'the same, and empty ones',
      [...many(500, () => 0), ...many(5000, () => 1 + Math.floor(2 ** (20 * rng.uniform())))],
      18,
    ],
    ['scores', many(5000, () => rng.uniform()), 18],
    [
      'scores around zero, and one that is huge',
      [...many(5000, () => rng.uniform() - 0.5), -1e9],
      18,
    ],
    ['millions with other thousands', many(20_000, () => 1e6 + rng.below(20_000)), 18],
    ['tiny and huge', many(20_000, () => 2 ** (200 * rng.uniform() - 100)), 18],
    ['ratings', many(500, () => 1 + rng.below(5)), 5],
  ])('%s', (_name, values, least) => {
    const { counts, used } = barsOf(values);
    expect(used).toBeGreaterThanOrEqual(least);
    expect(counts.length).toBeLessThanOrEqual(70);
    // Whatever the order.
    expect(barsOf(values.toReversed()).counts).toEqual(counts);
  });

  test('few, equal and odd numbers', () => {
    expect(barsOf([7])).toMatchObject({ edges: [7, 8], counts: [1] });
    expect(barsOf([0, 0, 0])).toMatchObject({ edges: [0, 1], counts: [3] });
    expect(barsOf([-0, 0]).counts).toEqual([2]);
    expect(barsOf([0.1, 0.2, 0.3]).edges).toContain(0.3);
    expect(barsOf([-1e308, 1e308]).counts.length).toBeLessThanOrEqual(70);
    expect(barsOf([5e-324, 1, 2 ** 53]).counts.length).toBeLessThanOrEqual(70);
    expect(new ValueBars().histogram()).toEqual({ edges: [], counts: [] });
  });
});
