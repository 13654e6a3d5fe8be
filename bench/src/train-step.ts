// A training step of the tiny LM through the public Trainer: full, and LoRA of rank 16 on all
// layers.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { someIds, tinyLm, tinyLmConfig } from './models/tinyLm.js';
import { trainingSteps } from './models/training.js';
import { jaxTrainSteps } from './peers/jaxLm.js';
import { PythonYardstick } from './peers/python.js';

const { batchSize, length, vocabSize } = tinyLm;

await bench(['jax', 'nanogpt'], async ({ run, attune, peers, python }) => {
  const { jax, nanogpt } = peers;
  const { stats } = attune.backend;
  const ids = (seed: number) => Int32Array.from(someIds(batchSize * length, vocabSize, seed));
  for (const [name, loraRank] of [
    ['tiny LM full', 0],
    ['tiny LM LoRA r=16', 16],
  ] as const)
    await run(name, async () => {
      const model = await AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
      const steps = trainingSteps({ model, batchSize, length, loraRank });
      stats.peakBytes = stats.liveBytes;
      let before = { ...stats };
      let after = before;
      return {
        maxWarmups: 4, // peers take seconds a step
        ours: {
          run: async () => {
            before = { ...stats };
            await steps.run();
            after = { ...stats };
          },
          dispose: async () => {
            await steps.dispose?.();
            model.dispose();
          },
        },
        // No peer has LoRA on this model to compare with.
        peers:
          loraRank > 0
            ? {}
            : {
                jax: jax && (() => jaxTrainSteps(jax, tinyLm, ids(1), ids(2))),
                nanogpt: nanogpt && (() => nanogpt.trainSteps(tinyLm, ids(1), ids(2))),
              },
        yardsticks: PythonYardstick.of(python, 'train_step', {
          config: tinyLmConfig,
          batch_size: batchSize,
          length,
          lora_rank: loraRank,
          bf16: false,
        }),
        facts: (ms) => ({
          tokensPerSecond: (1000 * batchSize * length) / ms,
          dispatches: after.dispatches - before.dispatches,
          submits: after.submits - before.submits,
          buffersCreated: after.buffersCreated - before.buffersCreated,
          peakMegabytes: stats.peakBytes / 1e6,
        }),
      };
    });
});
