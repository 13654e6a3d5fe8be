import { AutoModelForCausalLM, SFTTrainer, type SftArgumentsInput } from '@attune/core';
import { fixtureJson, onDawn, temporaryFolder } from './support.js';

/** 12 layers of a megabyte each, and little besides. */
const config = {
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 128,
  intermediate_size: 512,
  num_hidden_layers: 12,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 250,
  max_position_embeddings: 64,
};

const rows = Array.from({ length: 6 }, (_, r) => {
  const ids = Array.from({ length: 32 }, (_, i) => (r * 31 + i * 7) % 250);
  return { input_ids: ids, labels: ids };
});

/** Writes the model into a folder; returns the bytes of its weights. */
export async function saveMegabytes(folder: string): Promise<number> {
  await using attune = await onDawn();
  const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
  await model.savePretrained(folder);
  let bytes = 0;
  for (const [, { size }] of model.root.namedParameters()) bytes += 4 * size;
  return bytes;
}

/** Loads the model from a folder, trains it for four updates and lets it answer. */
export async function run(
  folder: string,
  options: {
    readonly offload: 'weights' | null;
    /** Train all weights. */
    readonly full?: boolean;
    readonly args?: SftArgumentsInput;
  },
) {
  await using attune = await onDawn();
  const { stats } = attune.backend;
  const model = await AutoModelForCausalLM.fromPretrained(folder, {
    attune,
    offload: options.offload,
  });
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    ...(!options.full && {
      peftConfig: { peftType: 'LORA', r: 4, loraDropout: 0.1, targetModules: 'all-linear' },
    }),
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 4,
      perDeviceTrainBatchSize: 1,
      gradientAccumulationSteps: 2,
      loggingSteps: 1,
      learningRate: 1e-3,
      gradientCheckpointing: true,
      ...options.args,
    },
  });
  const plan = await trainer.planMemory();
  stats.peakBytes = stats.liveBytes;
  await trainer.train();
  const losses = trainer.state.logHistory.flatMap((row) => ('gradNorm' in row ? [row] : []));
  const answer = await model.generate({ inputIds: [1, 2, 3], maxNewTokens: 5, eosTokenId: [] });
  return { plan, stats: { ...stats }, losses, answer };
}
