// fromPretrained of a generated folder of 100 MB, from an already read file to weights on the
// device.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { type DecoderConfig, randomModelFolder } from './models/folder.js';

/** 25 M parameters. */
const config: DecoderConfig = {
  model_type: 'llama',
  vocab_size: 8192,
  hidden_size: 512,
  intermediate_size: 1408,
  num_hidden_layers: 6,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  head_dim: 64,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
};

await bench([], async ({ run, attune }) => {
  for (const [stored, numLayers] of [
    ['float32', 6],
    ['bfloat16', 13], // the same bytes
  ] as const) {
    await using folder = await randomModelFolder(
      { ...config, num_hidden_layers: numLayers },
      stored,
    );
    for (const dtype of stored === 'float32' ? (['auto'] as const) : (['auto', 'float32'] as const))
      await run(`${stored} as ${dtype === 'auto' ? 'stored' : dtype}`, () => ({
        ours: {
          async run() {
            const model = await AutoModelForCausalLM.fromPretrained(folder.path, { attune, dtype });
            await attune.backend.sync();
            model.dispose();
          },
        },
        facts: (ms) => ({
          megabytes: folder.bytes / 1e6,
          megabytesPerSecond: folder.bytes / ms / 1000,
        }),
      }));
  }
});
