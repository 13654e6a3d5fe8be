import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import { createAttune, silentLogger } from '@attune/core';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { tableOf, trainOnMessyData } from './data.js';

test('a messy file becomes an adapter, and every row is accounted for', async () => {
  await using attune = await createAttune({ plugins: [dawn(), peft()], logger: silentLogger });
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-data-'));
  const sizes = { rows: 120, steps: 4, outputDir };
  const { report, before, after } = await trainOnMessyData(attune, sizes);
  const { rowsIn, rowsOut, quarantined, dropped, groupsShared } = report;
  const gone = Object.values(dropped).reduce((a, b) => a + b, 0);
  expect(rowsIn).toBe(132);
  expect(rowsIn).toBe(rowsOut + quarantined + gone);
  expect(quarantined).toBe(6);
  expect(dropped).toMatchObject({ duplicate: 6, 'near-duplicate': 6, 'no answer': 6, email: 6 });
  expect(dropped['above max']).toBeGreaterThan(0);
  expect(groupsShared).toBe(0);
  expect(after).toBeLessThan(before);
  expect(await readdir(join(outputDir, 'adapter'))).toContain('adapter_model.safetensors');
  expect(tableOf(report)).toContain('dedupe       126 -> 114');
  await rm(outputDir, { recursive: true });
});
