import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Attune, AutoModelForCausalLM } from '@attune/core';
import { PeftModel } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
  VARIANT_UPDATES,
} from '../../packages/core/test/trainer/recordedRun.js';
import { fixture, onDawn } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

/**
 * Virtual tokens of both kinds on the device: PEFT's greedy text, alone and padded, and its
 * updates.
 */
describe.each(['p-tuning-lstm-qwen2', 'prefix-tuning-projection-llama'])('%s', (name) => {
  const folder = fixture(`methods/${name}`);
  const run = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'));
  const adapted = async () => {
    const options = { attune, dtype: 'float32' } as const;
    const base = await AutoModelForCausalLM.fromPretrained(fixture(run.base), options);
    return PeftModel.fromPretrained(base, folder, { isTrainable: true });
  };

  test('greedy text', { timeout: 300_000 }, async () => {
    const model = await adapted();
    const { prompt, sequence } = run.greedy;
    const inputIds = [[4, 7, ...prompt], prompt];
    const { sequences } = await model.generate({ inputIds, maxNewTokens: 8, eosTokenId: null });
    expect(sequences[1]).toEqual(sequence);
  });

  test('updates, with gradient checkpointing', { timeout: 300_000 }, async () => {
    const args = { ...argumentsOf(run.settings), gradientCheckpointing: true };
    const updates = await updatesOf(
      await adapted(),
      { trainDataset: run.rows },
      args,
      VARIANT_UPDATES,
    );
    expectUpdates(updates, run.trace.slice(0, VARIANT_UPDATES), { loss: 1e-3, gradNorm: 1e-2 });
  });
});
