import type { Attune } from '@attune/core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { followDistillation, recorded } from '../../packages/align/test/recordedDistillations.js';
import { onDawn } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

describe('distillation follows TRL on the device', () => {
  test.each(recorded.cases.map((run) => [run.name, run] as const))('%s', (_, run) =>
    followDistillation(run, attune, { loss: 1e-3, gradNorm: 1e-2 }),
  );
});
