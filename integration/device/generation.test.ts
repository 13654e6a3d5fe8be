import type { DawnBackend } from '@attune/backend-dawn';
import { type Attune, AttuneError, AutoModelForCausalLM, type GenerateOptions } from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture, onDawn } from './support.js';

const load = (attune: Attune) =>
  AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune, dtype: 'float32' });

describe('generation on the device', () => {
  let attune: Attune;
  beforeAll(async () => {
    attune = await onDawn();
  });
  afterAll(() => attune.dispose());
  const inputIds = Array.from({ length: 32 }, (_, r) =>
    Array.from({ length: 1 + (r % 7) }, (_value, t) => (5 + 13 * r + 7 * t) % 90),
  );

  it.each<Partial<GenerateOptions>>([
    { doSample: false },
    { topK: 0 },
    { topK: 50, temperature: 1.4 },
    { topK: 0, topP: 0.9, temperature: 0.7 },
    { topK: 30, topP: 0.95, minP: 0.02, temperature: 1.2 },
  ])('draws what the host draws: %j', async (options) => {
    const model = await load(attune);
    const given = { inputIds, doSample: true, seed: 11, maxNewTokens: 24, eosTokenId: [3, 4] };
    const sampled = { ...given, ...options, returnLogProbs: true };
    const device = await model.generate(sampled);
    // Log-softmax of the scores draws the same, and is done on the host.
    const host = await model.generate({ ...sampled, renormalizeLogits: true });
    expect(device.sequences).toEqual(host.sequences);
    expect(device.finishReasons).toEqual(host.finishReasons);
    for (const [r, logProbs] of device.logProbs!.entries())
      for (const [t, value] of logProbs.entries())
        expect(value).toBeCloseTo(host.logProbs![r]![t]!, 4);
    model.dispose();
  });

  it.each([false, true])(
    'rows that wait answer as rows that do not, sampled: %s',
    async (doSample) => {
      const model = await load(attune);
      const given = { inputIds, doSample, seed: 5, maxNewTokens: 40, eosTokenId: [3, 14, 15, 92] };
      const few = await model.generate({ ...given, batchSize: 5 });
      expect(few).toEqual(await model.generate(given));
      expect(new Set(few.sequences.map((ids) => ids.length)).size).toBeGreaterThan(5);
      model.dispose();
    },
  );

  it('makes nothing new for a token once the first are there', async () => {
    const model = await load(attune);
    const { stats } = attune.backend;
    const run = async (maxNewTokens: number) => {
      const before = { ...stats };
      await model.generate({ inputIds, doSample: true, maxNewTokens, eosTokenId: null });
      const made = (name: 'pipelines' | 'bindGroups' | 'buffersCreated') =>
        stats[name] - before[name];
      return [made('pipelines'), made('bindGroups'), made('buffersCreated')];
    };
    await run(40);
    await run(40);
    // As far as the same cache reaches (64 tokens, prompt included).
    expect(await run(57)).toEqual([0, 0, 0]);
    model.dispose();
  });
});

it('a device lost in the middle of a rollout is named, with what to do', async () => {
  const attune = await onDawn();
  const model = await load(attune);
  const { device } = attune.backend as DawnBackend;
  const watched = (async () => {
    const options = { inputIds: [5, 6], maxNewTokens: 100, eosTokenId: null };
    let count = 0;
    for await (const _ of model.generateStream(options)) if (++count === 5) device.destroy();
  })();
  const error = await watched.catch((e: unknown) => e);
  expect(AttuneError.isInstance(error) && error.code).toBe('DEVICE_LOST');
  expect(String(error)).toMatch(/device was lost/);
  // And of a batch that is read seldom.
  const again = await model
    .generate({ inputIds: [[5], [6]], maxNewTokens: 40, eosTokenId: null })
    .catch((e: unknown) => e);
  expect(AttuneError.isInstance(again) && again.code).toBe('DEVICE_LOST');
});
