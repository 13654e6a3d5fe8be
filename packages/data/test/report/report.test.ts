import { pipeline, reportHtml } from '@attune/data';
import { expect, test } from 'vitest';
import { escaped } from '../../src/report/html.js';
import { RowCounter } from '../../src/report/rowStatistics.js';

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
