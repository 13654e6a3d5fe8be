import { describe, test } from 'vitest';
import { VARIANT_UPDATES } from '../packages/core/test/trainer/recordedRun.js';
import { followLoraRun, plainRuns, variants } from './loraRunOn.js';

describe('traces of LoRA runs', () => {
  test.each(plainRuns)('%s: whole', (name) => followLoraRun(name));

  // loraRun.sizes.test.ts follows them to their ends.
  test.each(variants)('%s: the first updates', (name) => followLoraRun(name, VARIANT_UPDATES));
});
