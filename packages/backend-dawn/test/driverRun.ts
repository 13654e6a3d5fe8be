/**
 * The process that drivers.test.ts starts for each driver: two short runs of the same seed. Says on
 * standard output which device it was, the losses of both and the hashes of their weights.
 *
 * usage: ATTUNE_VULKAN=lavapipe node driverRun.mjs
 */
import { createHash } from 'node:crypto';
import { AutoModelForCausalLM, SFTTrainer } from '@attune/core';
import { onDawn, temporaryFolder } from './support.js';

const config = {
  model_type: 'llama',
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
};
const rows = Array.from({ length: 16 }, (_, r) => ({
  input_ids: Array.from({ length: 20 }, (_, i) => (r * 31 + i * i * 7) % 64),
}));

async function run() {
  await using attune = await onDawn();
  const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 3 });
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    args: {
      outputDir: temporaryFolder(),
      ...{ saveStrategy: 'no', preflight: 'off', loggingSteps: 1 },
      ...{ maxSteps: 20, perDeviceTrainBatchSize: 4, learningRate: 1e-2, seed: 7 },
    },
  });
  await trainer.train();
  const hash = createHash('sha256');
  for (const [name, { tensor }] of model.root.namedParameters())
    hash.update(name).update(new Float32Array(await tensor.data()));
  return {
    device: attune.backend.info.device,
    losses: trainer.state.logHistory.flatMap(({ loss }) => (loss === undefined ? [] : [loss])),
    weights: hash.digest('hex'),
  };
}

process.stdout.write(`${JSON.stringify([await run(), await run()])}\n`);
