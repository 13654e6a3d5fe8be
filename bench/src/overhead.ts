// What the Trainer takes beside the update itself: the same updates by the public Trainer, which logs every
// one of them, and by a bare loop of forward, backward, clipping and AdamW, in turn.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { median } from './harness/measure.js';
import { bareSteps } from './models/bareSteps.js';
import { tinyLm, tinyLmConfig } from './models/tinyLm.js';
import { trainingSteps } from './models/training.js';

const { batchSize, length } = tinyLm;

await bench([], async ({ run, attune, options }) => {
  const { stats } = attune.backend;
  for (const [name, loraRank] of [
    ['tiny LM full', 0],
    ['tiny LM LoRA r=16', 16],
  ] as const)
    await run(name, async () => {
      const make = () => AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
      const [model, bareModel] = [await make(), await make()];
      const steps = trainingSteps({ model, batchSize, length, loraRank, logging: true });
      const bare = bareSteps({ model: bareModel, batchSize, length, loraRank });
      let dispatches = 0;
      let bareDispatches = 0;
      return {
        ours: {
          async run() {
            const before = stats.dispatches;
            await steps.run();
            dispatches = stats.dispatches - before;
          },
          async dispose() {
            await steps.dispose?.();
            model.dispose();
          },
        },
        yardsticks: {
          bare: () => ({
            async run() {
              const before = stats.dispatches;
              await bare.run();
              bareDispatches = stats.dispatches - before;
            },
            async dispose() {
              await bare.dispose?.();
              bareModel.dispose();
            },
          }),
        },
        facts: (ms) => ({
          overheadShare: 1 - median(bare.times.slice(-options.reps)) / ms,
          dispatches,
          bareDispatches,
        }),
      };
    });
});
