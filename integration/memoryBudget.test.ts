import {
  AttuneError,
  AutoModelForCausalLM,
  createAttune,
  estimateMemory,
  ops,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
// Adapters freeze what is offloaded: this test crosses the rooms on purpose.
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  fixture,
  float32Attune,
  minuteLlama,
  temporaryFolder,
} from '../packages/core/test/trainer/support.js';

const longRows = Array.from({ length: 16 }, (_, r) => ({
  input_ids: Array.from({ length: 60 }, (_, t) => (r * 5 + t * 3) % 17),
}));

const wider = { num_hidden_layers: 4, hidden_size: 64, intermediate_size: 128 };

const common = async () => ({
  outputDir: await temporaryFolder(),
  saveStrategy: 'no' as const,
  maxSteps: 1,
});

interface Way {
  readonly change: string;
  readonly savedBytes: number;
}

describe('maxMemory', () => {
  /** Refused with a budget that `budget` makes of plans without and with checkpointing. */
  const refused = async (budget: (whole: number, checkpointed: number) => number) => {
    await using attune = await float32Attune();
    const model = await minuteLlama(attune, 0, wider);
    const args = await common();
    const plan = await new SFTTrainer({ model, trainDataset: longRows, args }).planMemory();
    const other = { ...args, gradientCheckpointing: true };
    const less = await new SFTTrainer({ model, trainDataset: longRows, args: other }).planMemory();
    model.gradientCheckpointingDisable();
    const maxMemory = budget(plan.reservedBytes, less.reservedBytes);
    const trainer = new SFTTrainer({ model, trainDataset: longRows, args: { ...args, maxMemory } });
    const before = { ...attune.backend.stats };
    const error = await trainer.train().catch((e: unknown) => e);
    if (!AttuneError.isInstance(error)) throw error;
    expect(attune.backend.stats).toEqual(before); // nothing was begun
    expect(model.isGradientCheckpointing).toBe(false);
    return { error, plan, maxMemory };
  };

  test('what does not fit is refused before the first update, with what each way saves', async () => {
    const { error, plan, maxMemory } = await refused((_, checkpointed) => checkpointed);
    expect(error.code).toBe('MEMORY_BUDGET');
    expect(error.remedy).toContain('gradientCheckpointing: true');
    const { ways } = error.details as { ways: Way[] };
    expect(ways.map(({ change }) => change.split(/[:(]/)[0])).toEqual([
      'gradientCheckpointing',
      'perDeviceTrainBatchSize',
      'optim',
      'maxLength',
    ]);
    // Each saving is that of a plan with the change; a smaller batch is only as small as needed.
    await using attune = await float32Attune();
    const model = await minuteLlama(attune, 0, wider);
    const replanned = async (more: object) => {
      const args = { ...(await common()), ...more };
      return (await new SFTTrainer({ model, trainDataset: longRows, args }).planMemory())
        .reservedBytes;
    };
    const [checkpointing, batch, optim] = ways.map(({ savedBytes }) => savedBytes);
    expect(await replanned({ perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 2 })).toBe(
      plan.reservedBytes - batch!,
    );
    expect(plan.reservedBytes - batch!).toBeLessThanOrEqual(maxMemory);
    expect(await replanned({ optim: 'adamw_8bit' })).toBe(plan.reservedBytes - optim!);
    expect(await replanned({ gradientCheckpointing: true })).toBe(
      plan.reservedBytes - checkpointing!,
    );
  });

  test('where one way is not enough, several are; where none is, that is said', async () => {
    const hopeless = await refused(() => 1000);
    expect(hopeless.error.remedy).toContain('still holds');
    const { ways } = hopeless.error.details as { ways: { togetherBytes: number }[] };
    const all = ways.at(-1)!.togetherBytes;
    const { error } = await refused(() => all);
    expect(error.remedy).toContain('Together these fit: gradientCheckpointing');
  });

  test('what fits trains; sizes may be text', async () => {
    await using attune = await float32Attune();
    const model = await minuteLlama(attune);
    const args = { ...(await common()), maxMemory: '1GiB' as unknown as number };
    const trainer = new SFTTrainer({ model, trainDataset: longRows, args });
    expect(trainer.args.maxMemory).toBe(2 ** 30);
    expect((await trainer.train()).globalStep).toBe(1);
    expect(
      () => new SFTTrainer({ model, args: { maxMemory: 'much' as unknown as number } }),
    ).toThrow(/SIZE_INVALID|maxMemory/);
  });
});

describe('weights in host memory', () => {
  const load = async (more: object = {}) => {
    const attune = await createAttune({
      backend: 'reference',
      plugins: [peft()],
      logger: silentLogger,
    });
    return AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
      offload: 'weights',
      ...more,
    });
  };
  const lora = { peftType: 'LORA', r: 2, targetModules: 'all-linear' } as const;
  const rows = [{ input_ids: [1, 2, 3, 4, 5, 6] }];

  test('training them without checkpointing is refused: the tape would hold them all', async () => {
    const model = await load();
    await using _ = model.attune;
    const trainer = new SFTTrainer({
      model,
      peftConfig: lora,
      trainDataset: rows,
      args: await common(),
    });
    await expect(trainer.train()).rejects.toThrow('OFFLOAD_CHECKPOINTING');
  });

  test('the optimizer takes over those that are trained', async () => {
    const run = async (offload: 'weights' | null) => {
      const model = await load({ offload });
      await using _ = model.attune;
      const trainer = new SFTTrainer({ model, trainDataset: rows, args: await common() });
      return (await trainer.train()).trainingLoss;
    };
    expect(await run('weights')).toBe(await run(null));
  });

  test('a gradient without a place, and a write to a copy, are errors', async () => {
    const model = await load();
    await using _ = model.attune;
    const { engine } = model;
    const weight = model.root.submodule('model.layers.0.mlp.up_proj').ownParameters.get('weight')!;
    expect(weight.isOffloaded).toBe(true);
    expect(() => weight.tensor).toThrow('OFFLOADED_TRAINABLE');
    weight.trainable = false;
    const live = engine.liveTensors;
    engine.scope('test', () => {
      expect(() => ops.fill(weight.tensor, 0)).toThrow('WEIGHT_OFFLOADED');
    });
    expect(engine.liveTensors).toBe(live);
  });

  test('an adapter is trained on it; merging into it is refused and changes nothing', async () => {
    const model = await load();
    await using _ = model.attune;
    const trainer = new SFTTrainer({
      model,
      peftConfig: lora,
      trainDataset: rows,
      args: { ...(await common()), gradientCheckpointing: true },
    });
    await trainer.train();
    const { mergeAndUnload } = trainer.model as unknown as { mergeAndUnload?(): Promise<unknown> };
    await expect(mergeAndUnload!.call(trainer.model)).rejects.toThrow('WEIGHT_OFFLOADED');
  });
});

describe('estimateMemory', () => {
  const llama = {
    model_type: 'llama',
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    tie_word_embeddings: true,
    dtype: 'bfloat16',
  };
  const parameters = 1_235_814_400;
  const args = { perDeviceTrainBatchSize: 2, maxLength: 1024 };

  test('a billion parameters from their config alone', async () => {
    const plan = await estimateMemory({ config: llama, args });
    expect(plan.parameters).toBe(parameters);
    expect(plan.bytesOf('weights') / (4 * parameters)).toBeCloseTo(1, 2);
    expect(plan.bytesOf('gradients') / (4 * parameters)).toBeCloseTo(1, 2);
    expect(plan.bytesOf('optimizer') / (8 * parameters)).toBeCloseTo(1, 2);
  });

  test('an adapter, checkpointing, offloading, a generation', async () => {
    const peftConfig = { peftType: 'LORA', r: 16, targetModules: 'all-linear' } as const;
    const common = { config: llama, peftConfig, plugins: [peft()] };
    const lora = await estimateMemory({ ...common, args });
    const gc = { ...args, gradientCheckpointing: true };
    const checkpointed = await estimateMemory({ ...common, args: gc });
    const offloaded = await estimateMemory({ ...common, args: gc, offload: 'weights' });
    const generation = { batchSize: 8, promptLength: 512, maxNewTokens: 512 };
    const generating = await estimateMemory({ ...common, args: gc, generation });
    for (const plan of [lora, checkpointed, offloaded, generating])
      expect(plan.entries.reduce((n, { bytes }) => n + bytes, 0)).toBe(plan.reservedBytes);
    expect(lora.bytesOf('weights') / (2 * parameters)).toBeCloseTo(1, 1);
    expect(checkpointed.peakBytes).toBeLessThan(lora.peakBytes / 1.5);
    expect(offloaded.peakBytes).toBeLessThan(checkpointed.peakBytes - 1.5e9);
    const quantized = await estimateMemory({
      ...common,
      args: gc,
      quantization: { loadIn4bit: true },
    });
    expect(quantized.bytesOf('weights')).toBeLessThan(lora.bytesOf('weights') / 2);
    expect(quantized.parameters).toBe(lora.parameters);
    // 16 layers, keys and values, 8 rows, 1024 tokens, 8 heads of 64, float32.
    const generate = generating.phases.find(({ name }) => name === 'generate')!;
    expect(generate.peakBytes).toBeGreaterThan(2 * parameters + 16 * 2 * 8 * 1024 * 8 * 64 * 4);
  });

  test('an adapter without the plugin, and a wrong option, say so', async () => {
    await expect(
      estimateMemory({ config: llama, peftConfig: { peftType: 'LORA' } }),
    ).rejects.toThrow('PEFT_MISSING');
    await expect(estimateMemory({ config: llama, lora: 8 } as never)).rejects.toThrow(
      'UNKNOWN_OPTION',
    );
  });
});
