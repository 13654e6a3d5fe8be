import { expect, test } from 'vitest';
import { run, saveMegabytes } from './offloadedRun.js';
import { temporaryFolder } from './support.js';

test('paged states of 8 bits: the same losses bit for bit', async () => {
  const folder = temporaryFolder();
  await saveMegabytes(folder);
  const args = { loggingSteps: 4 };
  const whole = await run(folder, {
    offload: null,
    full: true,
    args: { ...args, optim: 'adamw_8bit' },
  });
  const paged = await run(folder, {
    offload: null,
    full: true,
    args: { ...args, optim: 'paged_adamw_8bit' },
  });
  expect(paged.losses.map(({ loss }) => loss)).toEqual(whole.losses.map(({ loss }) => loss));
  expect(paged.answer).toEqual(whole.answer);
  expect(paged.plan.peakBytes).toBe(paged.stats.peakBytes);
});
