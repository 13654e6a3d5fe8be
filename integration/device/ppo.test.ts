import { PPOTrainer } from '@attune/align';
import { type Attune, AutoModelForCausalLM, AutoTokenizer } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { followPpoRun, ppoRuns } from '../../packages/align/test/recordedPpoRuns.js';
import { hasStories, onDawn, shared, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

test.each(ppoRuns())('PPO follows TRL on the device: $name', async (run) => {
  // One token of a group of about 40 may lie at a bound of a clip.
  const tolerance = { loss: 1e-3, gradNorm: 1e-2, metrics: 1e-3, clipped: 0.03 };
  await followPpoRun(run, attune, await temporaryFolder(), tolerance);
});

describe.skipIf(!hasStories)('stories260k (needs the shared model)', () => {
  test('PPO makes stories happy within 100 groups, without losing entropy or memory', async () => {
    const folder = shared('models/stories260k');
    const beginnings = ['Once upon a time', 'One day', 'In the park', 'Lily saw a big dog'];
    const ppo = new PPOTrainer({
      policy: await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' }),
      tokenizer: await AutoTokenizer.fromPretrained(folder),
      prompts: beginnings.map((prompt) => ({ prompt })),
      rewardFuncs: ({ completions }) => completions.map((text) => Number(text.includes('happy'))),
      peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
      args: {
        outputDir: await temporaryFolder(),
        totalEpisodes: 100 * 64,
        batchSize: 64,
        miniBatchSize: 64,
        perDeviceTrainBatchSize: 64,
        maxNewTokens: 24,
        temperature: 1,
        klCoef: 0.03,
        learningRate: 5e-3,
        lrSchedulerType: 'constant',
        saveStrategy: 'no',
        seed: 1,
      },
    });
    const plan = await ppo.planMemory();
    attune.backend.stats.peakBytes = 0;
    const scores: number[] = [];
    const bytes: number[] = [];
    let entropy = 0;
    for await (const stats of ppo.steps()) {
      scores.push(stats['objective/scores']!);
      bytes.push(attune.backend.stats.liveBytes);
      entropy = stats['policy/entropy_avg']!;
      const last = scores.slice(-5);
      if (last.length === 5 && last.reduce((a, b) => a + b) / 5 >= 0.9) break;
    }
    expect(Math.abs(plan.peakBytes / attune.backend.stats.peakBytes - 1)).toBeLessThan(0.1);
    expect(scores.slice(-5).reduce((a, b) => a + b) / 5).toBeGreaterThanOrEqual(0.9);
    expect(scores[0]).toBeLessThan(0.2);
    expect(entropy).toBeGreaterThan(0.3);
    expect(Math.max(...bytes.slice(-10))).toBeLessThanOrEqual(
      1.05 * Math.max(...bytes.slice(0, 10)),
    );
  });
});
