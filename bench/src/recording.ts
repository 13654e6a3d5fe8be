// CPU time of recording an update: what this thread spends on each dispatch, apart from the device.
// The model is so small that even a software device is done at once. Beside it the same commands
// given to Dawn by a bare loop: what no way of recording can go below.
import type { DawnBackend } from '@attune/backend-dawn';
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { median } from './harness/measure.js';
import { bareDawn } from './models/bareDawn.js';
import { tinyLmConfig } from './models/tinyLm.js';
import { trainingSteps } from './models/training.js';

const config = {
  ...tinyLmConfig,
  hidden_size: 32,
  intermediate_size: 64,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 256,
};
/** Engines of JavaScript compile what runs often, after a while. */
const WARMUPS = 60;

await bench([], async ({ run, attune }) => {
  const { stats } = attune.backend;
  for (const [name, loraRank] of [
    ['full', 0],
    ['LoRA r=16', 16],
  ] as const)
    await run(`6 layers of width 32, ${name}`, async () => {
      const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
      const steps = trainingSteps({ model, batchSize: 2, length: 16, loraRank });
      for (let i = 0; i < WARMUPS; i++) await steps.run();
      const bare = await bareDawn((attune.backend as DawnBackend).device, () => steps.run());
      const recorded: number[] = [];
      const bareMs: number[] = [];
      let dispatches = 0;
      return {
        ours: {
          run: async () => {
            const before = stats.dispatches;
            await steps.run();
            dispatches = stats.dispatches - before;
            recorded.push(steps.recordCpuMs());
            bareMs.push(await bare());
          },
          dispose: async () => {
            await steps.dispose?.();
            model.dispose();
          },
        },
        peers: {},
        facts: () => ({
          dispatches,
          recordMs: median(recorded),
          microsecondsPerDispatch: (1000 * median(recorded)) / dispatches,
          bareDawnMicroseconds: (1000 * median(bareMs)) / dispatches,
        }),
      };
    });
});
