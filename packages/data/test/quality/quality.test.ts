import { createAttune, definePlugin } from '@attune/core';
import { defineQualityCheck, pipeline, QualityChecks, quality } from '@attune/data';
import { expect, test } from 'vitest';
import { z } from 'zod';

const rows = [
  { prompt: 'a', completion: 'Fine.' },
  { prompt: 'b', completion: 'TODO' },
  { prompt: 'c', completion: 'Mail jo@gmx.de' },
];

test('the first check that refuses a row gives the reason', async () => {
  const { rows: kept, dropped } = await quality(rows, { checks: ['completeness', 'harmlessness'] });
  expect(kept).toEqual([rows[0]]);
  expect(dropped.map(({ reason }) => reason)).toEqual(['placeholder', 'email']);
});

test('mode "score" adds a score and a reason for each check, and drops nothing', async () => {
  const { rows: scored, dropped } = await quality(rows, {
    checks: ['completeness', 'harmlessness'],
    mode: 'score',
  });
  expect(dropped).toEqual([]);
  expect(scored[0]).toEqual({
    ...rows[0],
    quality_completeness: 1,
    quality_completeness_reason: null,
    quality_harmlessness: 1,
    quality_harmlessness_reason: null,
  });
  expect(scored[1]).toMatchObject({
    quality_completeness: 0,
    quality_completeness_reason: 'placeholder: the answer is "TODO"',
  });
  expect(scored[2]).toMatchObject({
    quality_harmlessness: 0,
    quality_harmlessness_reason: 'email',
  });
});

test('scores of a row that is redacted stay with it', async () => {
  const { rows: scored } = await quality([rows[2]!], {
    checks: ['completeness', { name: 'harmlessness', redact: true }],
    mode: 'score',
  });
  expect(scored).toEqual([
    {
      prompt: 'c',
      completion: 'Mail [EMAIL]',
      quality_completeness: 1,
      quality_completeness_reason: null,
      quality_harmlessness: 1,
      quality_harmlessness_reason: null,
    },
  ]);
});

const short = defineQualityCheck({
  name: 'short',
  options: z.strictObject({ atLeast: z.int().default(3) }),
  start:
    ({ atLeast }) =>
    ({ answer }) => {
      const score = Math.min(1, (answer?.length ?? 0) / atLeast);
      return score < 1 ? { score, reason: 'short' } : { score };
    },
});
const rare = defineQualityCheck({
  name: 'rare',
  options: z.strictObject({}),
  start() {
    const seen = new Map<string, number>();
    return {
      looks: 1,
      look: ({ text }) => void seen.set(text, (seen.get(text) ?? 0) + 1),
      judge: (all) => all.map(({ text }) => ({ score: 1 / seen.get(text)!, reason: 'common' })),
      facts: () => ({ texts: seen.size }),
    };
  },
});

test('a check of a plugin: given itself, or by its name through an Attune', async () => {
  expect((await quality([{ text: 'a' }, { text: 'abc' }], { checks: [short] })).rows).toEqual([
    { text: 'abc' },
  ]);
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [
      definePlugin({
        name: 'mine',
        version: '1.0.0',
        apiVersion: 1,
        register: (c) => c.add(QualityChecks, short),
      }),
    ],
  });
  const given = [{ text: 'abc' }, { text: 'abcd' }, { text: 'a' }];
  const checks = [{ name: 'short', at_least: 4, min_score: 0.7 }];
  expect((await quality(given, { checks }, { attune })).rows).toEqual(given.slice(0, 2));
  const { report } = await pipeline(given, { attune }).quality({ checks }).collect();
  expect(report.dropped).toEqual({ short: 1 });
});

test('a check that looks at all rows judges those that the others left', async () => {
  const given = ['x', 'xyz', 'xyz', 'xyz', 'abc'].map((text) => ({ text }));
  const { rows: kept, report } = await quality(given, { checks: [rare, short] });
  expect(kept).toEqual([{ text: 'abc' }]);
  expect(report.dropped).toEqual({ short: 1, common: 3 });
  expect(report.facts).toEqual({ texts: 2 });
});

test('what is no check, or no option of one, is named', async () => {
  await expect(quality(rows, { checks: ['completness'] })).rejects.toMatchObject({
    code: 'DATA_CHECK_UNKNOWN',
    message: expect.stringMatching(/checks\[0\] is "completness".*completeness/s),
  });
  await expect(
    quality(rows, { checks: [{ name: 'completeness', refusal: true }] }),
  ).rejects.toThrow(/refusals/);
  await expect(quality(rows, { checks: [{ name: 'completeness', minScore: 2 }] })).rejects.toThrow(
    /minScore is 2/,
  );
  await expect(quality(rows, { checks: ['completeness', 'completeness'] })).rejects.toThrow(
    /twice/,
  );
  expect(() => quality(rows, { checks: [] })).toThrow(/at least one check/);
  expect(() => quality(rows, { checks: [7 as never] })).toThrow(/expected a name/);
  const broken = { ...short, start: () => () => ({ score: Number.NaN }) };
  await expect(quality(rows, { checks: [broken] })).rejects.toMatchObject({
    code: 'DATA_CHECK_BROKEN',
  });
});

test('rows of a format of one’s own are read by functions', async () => {
  const given = [{ q: 'Why?', a: 'TODO', note: 'jo@gmx.de' }];
  const own = {
    prompt: (row: Readonly<Record<string, unknown>>) => String(row.q),
    answer: (row: Readonly<Record<string, unknown>>) => String(row.a),
  };
  expect((await quality(given, { checks: ['completeness'], ...own })).report.dropped).toEqual({
    placeholder: 1,
  });
});
