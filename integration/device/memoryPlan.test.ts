import {
  AutoModelForCausalLM,
  type DType,
  estimateMemory,
  type QuantizationConfig,
  SFTTrainer,
  type SftArgumentsInput,
} from '@attune/core';
import type { RawConfig } from '@attune/core/io';
import { opTable } from '@attune/core/tensor';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { kernels } from '../../packages/backend-dawn/src/kernels/index.js';
import { fixtureJson, onDawn, temporaryFolder } from './support.js';

// What a plan says before a run is what the pool holds at the peak of the run.

const config: RawConfig = {
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 1000,
  max_position_embeddings: 256,
};

const rows = (count: number, length: number) =>
  Array.from({ length: count }, (_, r) => {
    const ids = Array.from({ length }, (_, i) => (r * 31 + i * 7) % 990);
    return { input_ids: ids, labels: ids };
  });

interface Case {
  readonly name: string;
  readonly model?: object;
  readonly dtype?: DType;
  /** true: on all linear layers. */
  readonly lora?: boolean | readonly string[];
  readonly quantization?: QuantizationConfig;
  readonly batch?: number;
  readonly length?: number;
  readonly args?: object;
}

const lora = (targets: boolean | readonly string[]) => ({
  peftType: 'LORA' as const,
  r: 8,
  targetModules: typeof targets === 'boolean' ? 'all-linear' : targets,
});

const cases: Case[] = [
  { name: 'full' },
  { name: 'full, checkpointing', args: { gradientCheckpointing: true } },
  { name: 'LoRA', lora: true },
  { name: 'LoRA, checkpointing', lora: true, args: { gradientCheckpointing: true } },
  { name: 'full, no grouped queries', model: { num_key_value_heads: 4 } },
  { name: 'LoRA on bfloat16', lora: true, dtype: 'bfloat16' },
  {
    name: 'full, accumulation, checkpointing',
    args: { gradientAccumulationSteps: 3, gradientCheckpointing: true },
  },
  {
    name: 'QLoRA, checkpointing',
    lora: true,
    quantization: { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
    args: { gradientCheckpointing: true },
  },
  { name: 'LoRA, odd shapes', lora: true, batch: 3, length: 71, model: { vocab_size: 1777 } },
  { name: 'LoRA on embedding and head', lora: ['embed_tokens', 'v_proj', 'lm_head'] },
  {
    name: 'full, tied head, short rows',
    batch: 1,
    length: 20,
    model: { tie_word_embeddings: true },
  },
];

describe.each(cases)('$name', ({ model: changes, dtype = 'float32', ...options }) => {
  test('is planned as it is measured', async () => {
    await using attune = await onDawn();
    const { stats } = attune.backend;
    const { batch = 4, length = 128 } = options;
    const quantization = options.quantization && { quantization: options.quantization };
    const args: SftArgumentsInput = {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 3,
      perDeviceTrainBatchSize: batch,
      ...options.args,
    };
    const model = await AutoModelForCausalLM.fromConfig(
      { ...config, ...changes },
      { attune, dtype, ...quantization },
    );
    const trainer = new SFTTrainer({
      model,
      trainDataset: rows(3 * batch * 3, length),
      ...(options.lora && { peftConfig: lora(options.lora) }),
      args,
    });
    await attune.backend.sync(); // what made the model and its adapter is on its way no longer
    const before = { ...stats };
    const plan = await trainer.planMemory();
    expect(stats).toEqual(before); // planning touches nothing
    stats.peakBytes = stats.liveBytes;
    await trainer.train();
    expect(plan.peakBytes).toBe(stats.peakBytes);
    // But for the few bytes that logs are read back through.
    expect(stats.reservedBytes - plan.reservedBytes).toBeLessThanOrEqual(4096);
    expect(plan.reservedBytes).toBeLessThanOrEqual(stats.reservedBytes);
    const estimate = await estimateMemory({
      config: { ...config, ...changes },
      dtype,
      ...quantization,
      args: { ...args, maxLength: Math.ceil(length / 32) * 32 }, // rows are padded so
      plugins: [peft()],
      ...(options.lora && { peftConfig: lora(options.lora) }),
    });
    // It knows neither what kernels borrow nor which calls this device has none for.
    expect(Math.abs(estimate.peakBytes / stats.peakBytes - 1)).toBeLessThan(0.03);
    expect(plan.entries.reduce((n, { bytes }) => n + bytes, 0)).toBe(plan.reservedBytes);
  });
});

test('estimateMemory knows which ops have kernels', () => {
  const here = new Set(kernels.map(({ op }) => op));
  expect(opTable.map((op) => op.name).filter((name) => !here.has(name))).toEqual([
    'linearCrossEntropy',
    'linearCrossEntropyRows',
  ]);
});
