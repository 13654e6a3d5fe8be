// Greedy generation with a key-value cache by the tiny LM: tokens a second.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { someIds, tinyLm, tinyLmConfig } from './models/tinyLm.js';

const PROMPT = 64;
const NEW = 64;

await bench([], async ({ run, attune }) => {
  const model = await AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
  for (const batch of [1, 8])
    await run(`tiny LM batch ${batch}, ${PROMPT} + ${NEW} tokens`, () => {
      const inputIds = Array.from({ length: batch }, (_, row) =>
        someIds(PROMPT, tinyLm.vocabSize, row),
      );
      return {
        ours: {
          async run() {
            const { sequences } = await model.generate({
              inputIds,
              maxNewTokens: NEW,
              eosTokenId: null,
            });
            const made = sequences.reduce((n, ids) => n + ids.length - PROMPT, 0);
            if (made !== batch * NEW) throw new Error(`${made} tokens instead of ${batch * NEW}.`);
          },
        },
        facts: (ms) => ({ tokensPerSecond: (1000 * batch * NEW) / ms }),
      };
    });
});
