import { test } from 'vitest';
import { followQuantized, quantizedRuns } from './recordedRuns.js';
import { onDawn } from './support.js';

test.each(quantizedRuns)('20 updates of LoRA on %s follow transformers + PEFT', async (name) => {
  await using attune = await onDawn();
  await followQuantized(attune, name);
});
