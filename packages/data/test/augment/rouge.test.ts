import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rougeL } from '@attune/data';
import { expect, test } from 'vitest';
import { RougePool, rougeTokens } from '../../src/augment/rouge.js';

const cases = JSON.parse(
  readFileSync(join(import.meta.dirname, '../fixtures/rouge.json'), 'utf8'),
) as { target: string; candidate: string; score: number[] }[];

test('ROUGE-L is that of rouge_score', () => {
  expect(cases.length).toBe(69);
  for (const { target, candidate, score } of cases) {
    const { precision, recall, fmeasure } = rougeL(target, candidate, 'rouge_score');
    for (const [i, value] of [precision, recall, fmeasure].entries())
      expect(value).toBeCloseTo(score[i]!, 14);
  }
});

test('other scripts have words, too, and ASCII has the same', () => {
  expect(rougeTokens('Grüße 日本語 abc１, สวั 가나')).toEqual([
    'grüße',
    '日',
    '本',
    '語',
    'abc１',
    ...'สวั',
    '가나',
  ]);
  for (const { target } of cases)
    if (/^[ -~]*$/.test(target))
      expect(rougeTokens(target)).toEqual(rougeTokens(target, 'rouge_score'));
});

test('the pool finds the first that is too like, as comparing all of them does', () => {
  for (const threshold of [0, 0.3, 0.5, 0.7, 1]) {
    const pool = new RougePool();
    let compared = 0;
    for (const [i, { target, candidate }] of cases.entries()) {
      const before = cases.slice(0, i).map((each) => rougeL(each.target, candidate).fmeasure);
      const at = before.findIndex((f) => f > threshold);
      const found = pool.findLike(candidate, threshold);
      expect(found?.index ?? -1).toBe(at);
      if (found) expect(found.f).toBeCloseTo(before[at]!, 12);
      compared += i;
      pool.add(target);
    }
    if (threshold >= 0.7) expect(pool.compared).toBeLessThan(compared / 10);
  }
});
