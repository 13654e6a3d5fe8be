import { AutoModelForCausalLM, estimateMemory, SFTTrainer } from '@attune/core';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { fixtureJson, onDawn, temporaryFolder } from './support.js';

/** 105 M parameters, of which 6 M are embedding and head: those stay in 16 bits. */
const config = {
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 14,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  head_dim: 64,
  vocab_size: 4096,
  tie_word_embeddings: false,
};
const quantization = {
  loadIn4bit: true,
  bnb4bitQuantType: 'nf4',
  bnb4bitUseDoubleQuant: true,
} as const;
const peftConfig = { peftType: 'LORA', r: 16, targetModules: 'all-linear' } as const;
const args = { perDeviceTrainBatchSize: 1, maxLength: 32, gradientCheckpointing: true };

test('QLoRA of 100 M parameters: planned as measured, a third of the weights of LoRA', async () => {
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
  expect(plan.parameters).toBeGreaterThan(100e6);
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
}, 300_000);
