import { AttuneError, AutoModelForCausalLM } from '@attune/core';
import { offloadWeights } from '@attune/core/nn';
import { beforeAll, describe, expect, test } from 'vitest';
import { run, saveMegabytes } from './offloadedRun.js';
import { onDawn, temporaryFolder } from './support.js';

const folder = temporaryFolder();
let weightBytes = 0;
beforeAll(async () => {
  weightBytes = await saveMegabytes(folder);
});

describe('offloaded weights', () => {
  let made: ReturnType<typeof run> | undefined;
  /** Within four fifths of what the weights alone would fill; two tests look at the one run. */
  const offloadedRun = () => {
    const maxMemory = Math.floor(0.8 * weightBytes);
    made ??= run(folder, { offload: 'weights', args: { maxMemory } });
    return made;
  };

  test('a model larger than the budget trains, with the same losses bit for bit', async () => {
    const maxMemory = Math.floor(0.8 * weightBytes);
    const whole = await run(folder, { offload: null });
    const offloaded = await offloadedRun();
    expect(whole.losses).toHaveLength(4);
    const numbers = (entries: typeof whole.losses) =>
      entries.map(({ loss, gradNorm }) => [loss, gradNorm]);
    expect(numbers(offloaded.losses)).toEqual(numbers(whole.losses));
    expect(offloaded.answer).toEqual(whole.answer);
    expect(offloaded.stats.reservedBytes).toBeLessThanOrEqual(maxMemory);
    expect(whole.stats.reservedBytes).toBeGreaterThan(weightBytes);
    expect(offloaded.plan.peakBytes).toBe(offloaded.stats.peakBytes);
    expect(whole.plan.peakBytes).toBe(whole.stats.peakBytes);
    // Nothing is read back for it.
    expect(offloaded.stats.readbacks).toBe(whole.stats.readbacks);
  });

  test('the budget error names it, with what it saves', async () => {
    const maxMemory = Math.floor(0.8 * weightBytes);
    const error = await run(folder, { offload: null, args: { maxMemory } }).catch(
      (e: unknown) => e,
    );
    if (!AttuneError.isInstance(error)) throw error;
    expect(error.code).toBe('MEMORY_BUDGET');
    expect(error.message).toMatch(/offload: "weights" .*: [\d.]+ MiB less, fits/);
    const offloaded = await offloadedRun();
    const { ways, plan } = error.details as {
      ways: { change: string; savedBytes: number }[];
      plan: { reservedBytes: number };
    };
    const way = ways.find(({ change }) => change.includes('offload'))!;
    expect(plan.reservedBytes - way.savedBytes).toBe(offloaded.plan.reservedBytes);
  });

  test('moved after loading, the memory is given back', async () => {
    await using attune = await onDawn();
    const { stats } = attune.backend;
    const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    const prompt = { inputIds: [1, 2, 3], maxNewTokens: 5, eosTokenId: [] };
    const answer = await model.generate(prompt);
    for (const [, parameter] of model.root.namedParameters()) parameter.trainable = false;
    const before = stats.reservedBytes;
    const moved = await offloadWeights(model.root);
    expect(moved).toBeGreaterThan(0.9 * weightBytes);
    expect(stats.reservedBytes).toBeLessThan(before - 0.95 * moved);
    expect(await model.generate(prompt)).toEqual(answer);
    const copy = temporaryFolder();
    await model.savePretrained(copy);
    await using other = await onDawn();
    const again = await AutoModelForCausalLM.fromPretrained(copy, { attune: other });
    expect(await again.generate(prompt)).toEqual(answer);
  });
});

describe('paged optimizer state', () => {
  test('the same losses bit for bit, in less memory by the state', async () => {
    const args = { loggingSteps: 4 };
    const whole = await run(folder, { offload: null, full: true, args });
    const paged = await run(folder, {
      offload: null,
      full: true,
      args: { ...args, optim: 'paged_adamw' },
    });
    const numbers = ({ losses }: typeof whole) =>
      losses.map(({ loss, gradNorm }) => [loss, gradNorm]);
    expect(numbers(whole)).toHaveLength(1);
    expect(numbers(paged)).toEqual(numbers(whole));
    expect(paged.answer).toEqual(whole.answer);
    expect(whole.plan.peakBytes).toBe(whole.stats.peakBytes);
    expect(paged.plan.peakBytes).toBe(paged.stats.peakBytes);
    // Two moments of two pages are left of it.
    const pages = 2 * 2 * 4 * 2 ** 20;
    expect(paged.stats.peakBytes).toBeLessThan(whole.stats.peakBytes - 1.9 * weightBytes + pages);
    // Each page of both moments in each of four updates: three pages with decay, one without.
    expect(paged.stats.readbacks - whole.stats.readbacks).toBe(4 * 2 * (3 + 1));
  });
});
