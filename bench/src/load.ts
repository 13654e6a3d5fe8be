// fromPretrained of generated folders, from an already read file to weights on the device: 100 MB
// in the storage of the file and in float32; then the shape of Qwen2.5-0.5B as it is stored, and
// quantised while it is read. `ofStored` is the time as a multiple of that of the first, and
// `cpuOfStored` the CPU time of all threads, the least of a case: others may use the cores.
import { AutoModelForCausalLM, type QuantizationConfig } from '@attune/core';
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

/** 494 M parameters, 358 M of them in linear layers that are quantised. */
const qwen: DecoderConfig = {
  model_type: 'qwen2',
  vocab_size: 151_936,
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  head_dim: 64,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
};

const nf4 = { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true } as const;
const quantizations: Readonly<Record<string, QuantizationConfig | null>> = {
  stored: null,
  nf4,
  fp4: { loadIn4bit: true, bnb4bitQuantType: 'fp4' },
  int8: { loadIn8bit: true },
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

  await using folder = await randomModelFolder(qwen, 'bfloat16');
  let stored = Number.NaN;
  let cpuStored = Number.NaN;
  for (const [name, quantization] of Object.entries(quantizations))
    await run(`Qwen2.5-0.5B as ${name}`, () => {
      let cpu = Number.POSITIVE_INFINITY;
      return {
        ours: {
          async run() {
            const before = process.cpuUsage();
            const options = { attune, dtype: 'auto' as const };
            const model = await AutoModelForCausalLM.fromPretrained(folder.path, {
              ...options,
              ...(quantization && { quantization }),
            });
            await attune.backend.sync();
            const { user, system } = process.cpuUsage(before);
            cpu = Math.min(cpu, (user + system) / 1000);
            model.dispose();
          },
        },
        maxWarmups: 1,
        facts: (ms) => {
          if (!quantization) [stored, cpuStored] = [ms, cpu];
          const megabytesPerSecond = folder.bytes / ms / 1000;
          const ratios = { ofStored: ms / stored, cpuOfStored: cpu / cpuStored };
          return { megabytesPerSecond, cpuMs: cpu, ...(stored > 0 && ratios) };
        },
      };
    });
});
