// Generation with a key-value cache by the tiny LM, greedy and sampled: tokens a second. With
// --torch the `generate` of transformers, if that Python has it, beside ours.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { someIds, tinyLm, tinyLmConfig } from './models/tinyLm.js';
import { PythonYardstick } from './peers/python.js';

const PROMPT = 64;
const NEW = 64;

/** Ways to choose a token: the likeliest, what `generate` samples by default, all of the policy. */
const choices = {
  greedy: { doSample: false },
  sampled: { doSample: true, topK: 50 },
  'sampled from all': { doSample: true, topK: 0 },
  'sampled topK topP minP': {
    doSample: true,
    temperature: 0.7,
    topK: 50,
    topP: 0.9,
    minP: 0.01,
  },
} as const;

const cases = [
  [1, 'greedy'],
  [8, 'greedy'],
  [8, 'sampled'],
  [8, 'sampled from all'],
  [8, 'sampled topK topP minP'],
  [32, 'greedy'],
  [32, 'sampled'],
  [32, 'sampled from all'],
] as const;

await bench([], async ({ run, attune, python }) => {
  const model = await AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
  for (const [batch, choice] of cases)
    await run(`tiny LM batch ${batch}, ${PROMPT} + ${NEW} tokens, ${choice}`, () => {
      const inputIds = Array.from({ length: batch }, (_, row) =>
        someIds(PROMPT, tinyLm.vocabSize, row),
      );
      return {
        ours: {
          async run() {
            const { sequences } = await model.generate({
              ...choices[choice],
              inputIds,
              maxNewTokens: NEW,
              eosTokenId: null,
              seed: 1,
            });
            const made = sequences.reduce((n, ids) => n + ids.length - PROMPT, 0);
            if (made !== batch * NEW) throw new Error(`${made} tokens instead of ${batch * NEW}.`);
          },
        },
        yardsticks: PythonYardstick.of(python, 'generate', {
          config: tinyLmConfig,
          batch_size: batch,
          length: PROMPT,
          new: NEW,
          options: choices[choice],
        }),
        facts: (ms) => ({ tokensPerSecond: (1000 * batch * NEW) / ms }),
      };
    });
});
