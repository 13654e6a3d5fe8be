import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import { createAttune, silentLogger } from '@attune/core';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { mergeReviews, tableOf } from './merge.js';

test('a few updates: three adapters, merged into weights and into one', async () => {
  await using attune = await createAttune({ plugins: [dawn(), peft()], logger: silentLogger });
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-merge-'));
  const scores = await mergeReviews(attune, { steps: 4, evalRows: 4, outputDir });
  const table = tableOf(scores);
  expect(table.split('\n').every((line) => line.length <= 80)).toBe(true);
  expect(scores.size).toBe(11);
  const mean = (name: string) => {
    const own = Object.values(scores.get(name)!);
    return own.reduce((a, b) => a + b, 0) / own.length;
  };
  for (const merged of ['linear', 'ties', 'one adapter, cat, rank 24'])
    expect(mean(merged)).toBeLessThan(mean('base'));
  // The same sum, as weights and as one adapter.
  expect(mean('one adapter, cat, rank 24')).toBeCloseTo(mean('task_arithmetic'), 3);
  expect(await readdir(join(outputDir, 'ties'))).toContain('model.safetensors');
  await rm(outputDir, { recursive: true });
});
