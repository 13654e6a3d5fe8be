import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
} from '@attune/core';
import { makePreferencePairs } from '@attune/data';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rewardScorer } from '../../src/augment/completionScorer.js';
import { bytes, tinyConfig } from '../selection/support.js';

let attune: Attune;
let model: Awaited<ReturnType<typeof AutoModelForSequenceClassification.fromConfig>>;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference' });
  model = await AutoModelForSequenceClassification.fromConfig(
    { ...tinyConfig, num_labels: 1, pad_token_id: 0 },
    { attune, seed: 3 },
  );
});
afterAll(() => attune.dispose());

const completions = ['Yes.', 'Certainly, and with pleasure.', 'No'];

test('a reward model scores each completion as it does alone, and not what is too long', async () => {
  const score = rewardScorer(model, bytes);
  const together = await score({ prompt: 'May I? ', completions });
  const { liveTensors } = attune.engine;
  for (const [i, completion] of completions.entries()) {
    const [alone] = await score({ prompt: 'May I? ', completions: [completion] });
    expect(together[i]).toBeCloseTo(alone!, 5);
  }
  expect(attune.engine.liveTensors).toBe(liveTensors);
  expect(new Set(together).size).toBe(3);
  expect(await score({ prompt: 'May I? ', completions: ['x'.repeat(300)] })).toEqual([null]);
});

test('pairs take the order of the reward model', async () => {
  const provider = {
    name: 'three answers',
    maxConcurrent: 1,
    fingerprint: () => ({ kind: 'three' }),
    complete: async ({ n = 1, seed = 0 }: { readonly n?: number; readonly seed?: number }) => ({
      texts: Array.from({ length: n }, (_, i) => completions[(seed + i) % 3]!),
      finishReasons: new Array(n).fill('stop' as const),
      usage: null,
      model: 'three',
      cost: null,
      isCached: false,
    }),
  };
  const scores = await rewardScorer(model, bytes)({ prompt: 'May I?', completions });
  const order = completions.toSorted(
    (a, b) => scores[completions.indexOf(b)]! - scores[completions.indexOf(a)]!,
  );
  const { rows } = await makePreferencePairs([{ prompt: 'May I?' }], {
    provider,
    rewardModel: model,
    rewardTokenizer: bytes,
    samples: 3,
    margin: 0,
  });
  const text = JSON.stringify(rows[0]);
  expect(rows).toHaveLength(1);
  expect([text.includes(order[0]!), text.includes(order[2]!)]).toEqual([true, true]);
});

test('a model without a score is refused', async () => {
  const language = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
  expect(() => rewardScorer(language, bytes)).toThrow(/rewardModel gives no score/);
});
