import { AutoModelForCausalLM, estimateMemory, SFTTrainer } from '@attune/core';
import { peft } from '@attune/peft';
import { expect } from 'vitest';
import { fixtureJson, onDawn, temporaryFolder } from './support.js';

/** Layers of 7.1 M parameters; embedding and head stay in 16 bits. */
const configOf = (size: { readonly layers: number; readonly vocabulary: number }) => ({
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: size.layers,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  head_dim: 64,
  vocab_size: size.vocabulary,
  tie_word_embeddings: false,
});
const quantization = {
  loadIn4bit: true,
  bnb4bitQuantType: 'nf4',
  bnb4bitUseDoubleQuant: true,
} as const;
const peftConfig = { peftType: 'LORA', r: 16, targetModules: 'all-linear' } as const;
const args = { perDeviceTrainBatchSize: 1, maxLength: 32, gradientCheckpointing: true };

/** QLoRA: planned as measured, and a third of the weights of LoRA. */
export async function checkQlora(size: {
  readonly layers: number;
  readonly vocabulary: number;
  readonly parameters: number;
}): Promise<void> {
  const config = configOf(size);
  await using attune = await onDawn();
  const { stats } = attune.backend;
  const model = await AutoModelForCausalLM.fromConfig(config, {
    attune,
    dtype: 'float16',
    quantization,
  });
  const ids = Array.from({ length: 32 }, (_, i) => i + 5);
  const trainer = new SFTTrainer({
    model,
    trainDataset: [{ input_ids: ids, labels: ids }],
    peftConfig,
    args: { ...args, outputDir: temporaryFolder(), saveStrategy: 'no', maxSteps: 2 },
  });
  await attune.backend.sync();
  const plan = await trainer.planMemory();
  expect(plan.parameters).toBeGreaterThan(size.parameters);
  stats.peakBytes = stats.liveBytes;
  const { trainingLoss } = await trainer.train();
  expect(trainingLoss).toBeGreaterThan(0);
  expect(Math.abs(plan.peakBytes / stats.peakBytes - 1)).toBeLessThan(0.1);

  const lora = await estimateMemory({
    config,
    dtype: 'float16',
    peftConfig,
    args,
    plugins: [peft()],
  });
  const adapter = 4 * plan.trainedParameters; // the same in both
  const share = (plan.bytesOf('weights') - adapter) / (lora.bytesOf('weights') - adapter);
  expect(share).toBeLessThan(1 / 3);
}
