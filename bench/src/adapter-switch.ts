// From one LoRA adapter of all linear layers to another: setAdapter on a model of 24 layers,
// narrow, since it depends on the number of layers and not on their size. Twice: adapters for
// inference, and for training.
import { AutoModelForCausalLM } from '@attune/core';
import { getPeftModel } from '@attune/peft';
import { bench } from './harness/bench.js';
import { tinyLmConfig } from './models/tinyLm.js';

const LAYERS = 24;
/** Switches of one repetition. */
const SWITCHES = 200;

await bench([], async ({ run, attune }) => {
  const { stats } = attune.backend;
  for (const [kind, inferenceMode] of [
    ['inference', true],
    ['training', false],
  ] as const)
    await run(`${LAYERS} layers, two adapters for ${kind}`, async () => {
      const config = {
        ...tinyLmConfig,
        hidden_size: 96,
        intermediate_size: 192,
        num_hidden_layers: LAYERS,
      };
      const base = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
      const lora = {
        peftType: 'LORA' as const,
        r: 16,
        targetModules: 'all-linear',
        inferenceMode,
      };
      const model = getPeftModel(base, lora, 'one');
      model.addAdapter('other', lora);
      await attune.backend.sync();
      const before = { ...stats };
      return {
        inner: SWITCHES,
        ours: {
          async run() {
            for (let i = 0; i < SWITCHES; i++) model.setAdapter(i % 2 === 0 ? 'other' : 'one');
          },
        },
        facts: () => ({
          dispatches: stats.dispatches - before.dispatches,
          buffersCreated: stats.buffersCreated - before.buffersCreated,
          bytes: stats.liveBytes - before.liveBytes,
        }),
      };
    });
});
