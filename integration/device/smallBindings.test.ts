import {
  type Attune,
  AutoModelForCausalLM,
  Backends,
  createAttune,
  type DType,
  definePlugin,
  PLUGIN_API_VERSION,
  type QuantizationConfig,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import type { RawConfig } from '@attune/core/io';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { type Watched, withBindings } from '../../packages/backend-dawn/test/bindings.js';
import { fixtureJson, temporaryFolder } from './support.js';

// Tables larger than a binding train, generate and save as those that fit.

/** A table of 1500 x 128: 384 kB in 16 bits. */
const config: RawConfig = {
  ...fixtureJson('tiny-llama/config.json'),
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 1500,
  tie_word_embeddings: true,
};
const SMALL = 192 * 1024;
const ALL = 128 * 2 ** 20;

const trainDataset = Array.from({ length: 3 }, (_, r) => {
  const ids = Array.from({ length: 28 }, (_, i) => (r * 431 + i * 97) % 1490);
  return { input_ids: ids, labels: ids };
});

async function open(maxBindingBytes: number): Promise<{ attune: Attune; watched: Watched }> {
  const watched = await withBindings(maxBindingBytes);
  const device = definePlugin({
    name: 'small-bindings',
    version: '1.0.0',
    apiVersion: PLUGIN_API_VERSION,
    register: (context) =>
      context.add(Backends, { name: 'small', create: async () => watched.backend }),
  });
  const plugins = [device, peft()];
  const attune = await createAttune({ backend: 'small', plugins, logger: silentLogger });
  return { attune, watched };
}

interface Case {
  readonly name: string;
  readonly model?: object;
  readonly dtype?: DType;
  readonly lora?: string | readonly string[];
  readonly quantization?: QuantizationConfig;
  readonly optim?: string;
}

const cases: Case[] = [
  { name: 'LoRA on bfloat16, tied head', dtype: 'bfloat16', lora: 'all-linear' },
  { name: 'LoRA on embedding and projections', lora: ['embed_tokens', 'v_proj'] },
  { name: 'full' },
  { name: 'full, head of its own', model: { tie_word_embeddings: false } },
  { name: 'full, SGD', optim: 'sgd' },
  { name: 'full, Lion', optim: 'lion_32bit' },
  {
    name: 'full, AdamW of 8 bits, head of its own',
    model: { tie_word_embeddings: false },
    optim: 'adamw_bnb_8bit',
  },
  {
    name: 'QLoRA on NF4, wide layers',
    dtype: 'bfloat16',
    lora: 'all-linear',
    quantization: { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
    model: { intermediate_size: 512 },
  },
  {
    name: 'LoRA on int8, wide layers',
    dtype: 'bfloat16',
    lora: 'all-linear',
    quantization: { loadIn8bit: true },
    model: { intermediate_size: 512 },
  },
];

async function run(testCase: Case, maxBindingBytes: number) {
  const { attune, watched } = await open(maxBindingBytes);
  await using _ = attune;
  const { lora, optim, quantization } = testCase;
  const model = await AutoModelForCausalLM.fromConfig(
    { ...config, ...testCase.model },
    { attune, dtype: testCase.dtype ?? 'float32', seed: 3, ...(quantization && { quantization }) },
  );
  const outputDir = temporaryFolder();
  const trainer = new SFTTrainer({
    model,
    trainDataset,
    ...(lora && { peftConfig: { peftType: 'LORA' as const, r: 4, targetModules: lora } }),
    args: {
      ...{ outputDir, maxSteps: 3, perDeviceTrainBatchSize: 1, learningRate: 1e-3 },
      ...{ maxLength: 28, saveStrategy: 'no', loggingSteps: 1, seed: 5 },
      ...(optim && { optim }),
    },
  });
  await attune.backend.sync();
  const plan = await trainer.planMemory();
  const { stats } = attune.backend;
  stats.peakBytes = stats.liveBytes;
  await trainer.train();
  const { peakBytes } = stats;
  const losses = trainer.state.logHistory.flatMap(({ loss }) => (loss === undefined ? [] : [loss]));
  const prompts = [
    [5, 102, 199],
    [7, 104, 201],
  ];
  const one = await trainer.model.generate({ inputIds: prompts.slice(0, 1), maxNewTokens: 6 });
  const two = await trainer.model.generate({ inputIds: prompts, maxNewTokens: 6 });
  await trainer.saveModel(outputDir);
  return {
    losses: losses as number[],
    sequences: [...one.sequences, ...two.sequences],
    planned: plan.peakBytes / peakBytes,
    largest: watched.largest(),
  };
}

describe('bindings of 192 KiB', () => {
  test.each(cases)('$name', async (testCase) => {
    const whole = await run(testCase, ALL);
    const split = await run(testCase, SMALL);
    expect(whole.largest).toBeGreaterThan(SMALL);
    expect(split.largest).toBeLessThanOrEqual(SMALL);
    expect(split.losses).toHaveLength(3);
    split.losses.forEach((loss, i) => {
      expect(Math.abs(loss - whole.losses[i]!)).toBeLessThan(1e-4);
    });
    expect(split.sequences).toEqual(whole.sequences);
    expect(Math.abs(split.planned - 1)).toBeLessThan(0.03);
  });

  test('what has no split is refused by name, before a step', async () => {
    await expect(run({ name: 'full, Adafactor', optim: 'adafactor' }, SMALL)).rejects.toThrow(
      /TENSOR_TOO_LARGE.*"adafactor".*\[1500,128\] of 768000 bytes.*binds at most 196608/,
    );
  });
});
