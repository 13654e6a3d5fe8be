// A LoRA step (rank 16, all linear layers) of models with the sizes of Qwen2.5-0.5B and
// Llama-3.2-1B, random weights in bfloat16 and in NF4 with double quantisation. GPU only: on a CPU
// one step takes minutes.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { type DecoderConfig, randomModelFolder } from './models/folder.js';
import { trainingSteps } from './models/training.js';
import { PythonYardstick } from './peers/python.js';

const BATCH = 2;
const LENGTH = 512;
const RANK = 16;

const models: Readonly<Record<string, DecoderConfig>> = {
  'Qwen2.5-0.5B': {
    model_type: 'qwen2',
    vocab_size: 151936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    head_dim: 64,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000,
    tie_word_embeddings: true,
  },
  'Llama-3.2-1B': {
    model_type: 'llama',
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    max_position_embeddings: 131072,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
    tie_word_embeddings: true,
  },
};

await bench([], async ({ run, attune, software, python }) => {
  if (software) {
    console.error('lora-1b: needs a GPU; this adapter computes on the CPU. Nothing is measured.');
    return;
  }
  const { stats } = attune.backend;
  const nf4 = { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true } as const;
  const cases = Object.entries(models).flatMap(([name, config]) => [
    { name, config },
    { name: `${name} NF4`, config, quantization: nf4 },
  ]);
  for (const { name, config, ...held } of cases)
    await run(`${name} shape, LoRA r=${RANK}, B${BATCH} T${LENGTH}`, async () => {
      await using folder = await randomModelFolder(config, 'bfloat16');
      const model = await AutoModelForCausalLM.fromPretrained(folder.path, { attune, ...held });
      stats.peakBytes = stats.liveBytes;
      const steps = trainingSteps({ model, batchSize: BATCH, length: LENGTH, loraRank: RANK });
      return {
        ours: {
          run: () => steps.run(),
          dispose: async () => {
            await steps.dispose?.();
            model.dispose();
          },
        },
        yardsticks: PythonYardstick.of(python, 'train_step', {
          config,
          batch_size: BATCH,
          length: LENGTH,
          lora_rank: RANK,
          bf16: true,
        }),
        facts: (ms) => ({
          tokensPerSecond: (1000 * BATCH * LENGTH) / ms,
          peakMegabytes: stats.peakBytes / 1e6,
        }),
      };
    });
});
