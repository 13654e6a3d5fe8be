import { readFileSync } from 'node:fs';
import { AutoModelForCausalLM, SFTTrainer } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { fixture, onDawn, temporaryFolder } from './support.js';

const ids = Array.from({ length: 32 }, (_, i) => (i * 7) % 250);
const rows = Array.from({ length: 4 }, () => ({ input_ids: ids, labels: ids }));

async function open() {
  const attune = await onDawn();
  const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
    attune,
    dtype: 'float32',
  });
  const outputDir = temporaryFolder();
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    args: { outputDir, saveStrategy: 'no', maxSteps: 2, perDeviceTrainBatchSize: 4 },
  });
  return { attune, model, trainer, outputDir };
}

describe('profile', () => {
  test('counts what ran, leaves weights and state alone, writes a trace', async () => {
    const { attune, model, trainer, outputDir } = await open();
    await trainer.train();
    const { logHistory, globalStep } = trainer.state;
    const [, weight] = [...model.root.namedParameters()][3]!;
    const before = await weight.tensor.data();

    const profile = await trainer.profile({ steps: 2 });

    expect(await weight.tensor.data()).toEqual(before);
    expect(trainer.state).toMatchObject({ logHistory, globalStep });
    expect(profile.device).toBe(attune.backend.info.device);
    const [matmul] = profile.rows.filter((row) => row.op === 'matmul');
    // Three products for each of seven projections a layer, and for the two chunks of the head.
    const layers = model.config.numHiddenLayers;
    expect(matmul!.dispatches).toBe(3 * (7 * layers + 2));
    const weights = [...model.root.namedParameters()]
      .filter(([, p]) => p.tensor.rank === 2)
      .filter(([name]) => !name.includes('embed_tokens') || model.config.tieWordEmbeddings);
    const perToken = weights.reduce((n, [, p]) => n + 6 * p.size, 0);
    const flops = matmul!.gflops! * matmul!.ms * 1e6;
    // The last position predicts nothing, so the head sees one token less of each row.
    expect(flops).toBeLessThanOrEqual(perToken * 4 * 32 * 1.0001);
    expect(flops).toBeGreaterThan(perToken * 4 * 31 * 0.9999);
    expect(profile.rows.reduce((n, row) => n + row.share, 0)).toBeCloseTo(1, 6);
    expect(profile.rows.map((row) => row.op)).toContain('adamw');
    expect(profile.stepMs).toBeGreaterThan(0);

    const trace = JSON.parse(readFileSync(`${outputDir}/profile.trace.json`, 'utf8'));
    const kernels = trace.traceEvents.filter((e: { tid: number; ph: string }) => e.tid === 2);
    expect(kernels.length).toBe(profile.dispatches * 2 + 1);
    const table = String(profile).split('\n');
    expect(table[0]).toMatch(/^2 updates on .* ms each/);
    expect(table[1]).toMatch(/^op +dispatches +ms/);
    await attune.dispose();
  });

  test('one at a time, and not while training', async () => {
    const { attune, trainer } = await open();
    const training = trainer.train();
    await new Promise((resolve) => trainer.on('trainBegin', () => resolve(null)));
    await expect(trainer.profile()).rejects.toThrow(/ALREADY_TRAINING/);
    await training;
    const nested = attune.backend.profile!(() =>
      attune.backend.profile!(async () => {}).then(() => undefined),
    );
    await expect(nested).rejects.toThrow(/PROFILE_NESTED/);
    await attune.dispose();
  });
});
