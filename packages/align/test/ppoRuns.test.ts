import { test } from 'vitest';
import { folder, open } from './ppo.support.js';
import { followPpoRun, ppoRuns } from './recordedPpoRuns.js';

// On the float64 reference backend.
test.each(ppoRuns())('$name equals TRL', async (run) => {
  const tolerance = { loss: 1e-4, gradNorm: 1e-3, metrics: 1e-3, clipped: 0 };
  await followPpoRun(run, await open(), await folder(), tolerance);
});
