import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import { createAttune } from '@attune/core';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { alignReviews } from './dpo.js';

test('a few updates: DPO begins at the adapter that SFT has trained', async () => {
  const infos: string[] = [];
  const logger = { info: (line: string) => infos.push(line), warn() {}, error() {} };
  await using attune = await createAttune({ plugins: [dawn(), peft(), align()], logger });
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-dpo-'));
  const sizes = { sftSteps: 6, dpoSteps: 5, evalRows: 16, outputDir };
  const { dpo, before, after, accuracy } = await alignReviews(attune, sizes);
  expect(infos.some((line) => /reference/.test(line) && /adapter/.test(line))).toBe(true);
  const [row] = dpo.state.logHistory;
  // Were the base the reference, rewards would be those of all that SFT has taught.
  expect(Math.abs(row!['rewards/chosen']!)).toBeLessThan(3);
  expect(row!['rewards/margins']).toBeGreaterThan(0);
  expect(accuracy).toBeGreaterThan(0.5);
  expect(after).toBeLessThan(1.05 * before);
  await rm(outputDir, { recursive: true });
});
