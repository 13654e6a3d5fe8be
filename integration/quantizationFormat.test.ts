import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  createAttune,
  definePlugin,
  estimateMemory,
  type LanguageModel,
  type Plugin,
  QuantizationFormats,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { WeightFolder } from '@attune/core/io';
import type { QuantizationFormat } from '@attune/core/models';
import type { QuantizedLayer } from '@attune/core/nn';
import { quantizationFormatKit } from '@attune/core/testing';
import { getPeftModel, type PeftModel, peft } from '@attune/peft';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { RowLinear, rowInt4, rowInt4Plugin } from '../examples/rowInt4.js';

// A format from outside, by public exports alone: what core and peft do with one that they never
// saw.

const config = {
  model_type: 'qwen2',
  vocab_size: 23,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  initializer_range: 0.2,
  tie_word_embeddings: false,
};
const lora = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: 'all-linear' } as const;
const quantization = { quantMethod: 'row-int4', symmetric: true };
const rows = Array.from({ length: 8 }, (_, i) => ({
  input_ids: Array.from({ length: 6 + (i % 3) }, (_, t) => (i * 3 + t * 5) % 23),
}));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-format-'));
  onTestFinished(() => rm(folder, { recursive: true }));
});

async function open(plugin: Plugin = rowInt4Plugin(), said: string[] = []): Promise<Attune> {
  const attune = await createAttune({
    plugins: [peft(), plugin],
    backend: 'reference',
    logger: { ...silentLogger, warn: (message) => said.push(message) },
  });
  onTestFinished(() => attune.dispose());
  return attune;
}

/** A folder with config.json and weights: floats, or in the format. */
async function write(attune: Attune, options = {}): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 3, ...options });
  await model.savePretrained(folder);
  return model;
}

const load = (attune: Attune, options = {}) =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, ...options });

async function logits(model: LanguageModel): Promise<number[]> {
  const { engine } = model;
  const out = engine.noGrad(() =>
    engine.scope('logits', () =>
      model.forward({ inputIds: engine.tensor([1, 5, 9, 2, 7, 22], [2, 3], 'int32') }),
    ),
  );
  const values = [...(await out.data())];
  out.dispose();
  return values;
}

const difference = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

const layersOf = ({ root }: LanguageModel): RowLinear[] =>
  [...root.namedModules()].flatMap(([, module]) => (module instanceof RowLinear ? [module] : []));

const codesOf = (model: LanguageModel) => Promise.all(layersOf(model).map((layer) => layer.read()));

describe('a format of a plugin', () => {
  for (const { name, run } of quantizationFormatKit(rowInt4, {
    // Half of a step of 1/7.
    largestError: 0.5 / 7 + 1e-6,
    options: { modulesToNotConvert: ['lm_head'] },
  }))
    test(name, run);

  test('quantises while loading; saved, it is found by its quant_method alone', async () => {
    const attune = await open();
    const floats = await write(attune);
    const model = await load(attune, { quantization });
    expect(layersOf(model)).toHaveLength(14);
    const quantised = await logits(model);
    expect(difference(quantised, await logits(floats))).toBeGreaterThan(1e-3);

    await model.savePretrained(folder);
    const saved = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
    expect(saved.quantization_config).toEqual({
      quant_method: 'row-int4',
      modules_to_not_convert: null,
      symmetric: true,
    });
    await using weights = await WeightFolder.open(folder);
    const path = 'model.layers.1.mlp.down_proj';
    expect(weights.info(`${path}.weight_packed`)).toMatchObject({ dtype: 'U8', shape: [32, 24] });
    expect(weights.has(`${path}.weight`)).toBe(false);
    const loaded = await load(attune);
    expect(await codesOf(loaded)).toEqual(await codesOf(model));
    expect(await logits(loaded)).toEqual(quantised);
  });

  test('computes as a model of floats with the dequantised weights', async () => {
    const attune = await open();
    const model = await write(attune, { quantization });
    const quantised = await logits(model);
    model.dequantize();
    expect(layersOf(model)).toEqual([]);
    expect(model.config.raw.quantization_config).toBeUndefined();
    expect(difference(await logits(model), quantised)).toBeLessThan(1e-6);
  });

  test.each([false, true])('LoRA trains on it; gradient checkpointing: %s', async (on) => {
    const attune = await open();
    const model = await write(attune, { quantization });
    const codes = await codesOf(model);
    const trainer = new SFTTrainer({
      model,
      trainDataset: rows,
      peftConfig: lora,
      args: {
        outputDir: join(folder, 'out'),
        maxSteps: 8,
        learningRate: 0.02,
        lrSchedulerType: 'constant',
        loggingSteps: 1,
        saveStrategy: 'no',
        gradientCheckpointing: on,
      },
    });
    await trainer.train();
    const losses = trainer.state.logHistory.flatMap((row) => ('loss' in row ? [row.loss] : []));
    expect(losses).toHaveLength(8);
    expect(Number(losses.at(-1))).toBeLessThan(0.8 * Number(losses[0]));
    expect(await codesOf(trainer.model as LanguageModel)).toEqual(codes);
  });

  test('is counted by memory plans, to the byte', async () => {
    const attune = await open();
    const model = await write(attune, { quantization });
    const tables = 16 * 4;
    const weights = layersOf(model).reduce((sum, layer) => sum + layer.weightSize, 0);
    const scales = layersOf(model).reduce((sum, layer) => sum + layer.outFeatures, 0);
    const bytes = weights / 2 + 4 * scales + tables;
    const plugins = [peft(), rowInt4Plugin()];
    const estimate = await estimateMemory({ config, quantization, plugins, peftConfig: lora });
    const quantised = ({ detail }: { readonly detail: string }) => detail === 'quantised';
    expect(estimate.entries.find(quantised)?.bytes).toBe(bytes);
    const trainer = new SFTTrainer({ model, trainDataset: rows, peftConfig: lora, args: {} });
    const plan = await trainer.planMemory();
    expect(plan.entries.find(quantised)?.bytes).toBe(bytes);
    expect(plan.parameters - plan.trainedParameters).toBeGreaterThan(weights);
    const counted = (trainer.model as PeftModel).getNbTrainableParameters();
    expect(counted).toEqual({ trainable: plan.trainedParameters, all: plan.parameters });
  });

  test('adapters merge into it with a warning, come out bit for bit, or leave floats', async () => {
    const said: string[] = [];
    const attune = await open(undefined, said);
    const model = getPeftModel(await write(attune, { quantization }), lora);
    for (const [name, parameter] of model.root.namedParameters())
      if (name.includes('lora_B')) parameter.write(new Float32Array(parameter.size).fill(0.02));
    const adapted = await logits(model);
    const codes = await codesOf(model);
    await model.mergeAdapter();
    expect(said.join()).toContain('merging into 14 layers held in 4 bits (row-int4) rounds');
    expect(await codesOf(model)).not.toEqual(codes);
    model.unmergeAdapter();
    expect(await codesOf(model)).toEqual(codes);
    expect(await logits(model)).toEqual(adapted);
    const merged = await model.mergeAndUnload({ dequantize: true });
    expect(layersOf(merged)).toEqual([]);
    expect(difference(await logits(merged), adapted)).toBeLessThan(1e-5);
  });

  test('DoRA starts from its dequantised weights', async () => {
    const attune = await open();
    const base = await write(attune, { quantization });
    const before = await logits(base);
    const model = getPeftModel(base, { ...lora, targetModules: ['q_proj'], useDora: true });
    expect(difference(await logits(model), before)).toBeLessThan(1e-5);
  });

  test('its weights cannot be trained themselves, in words of the format', async () => {
    const attune = await open();
    const model = await write(attune, { quantization });
    expect(() => getPeftModel(model, { peftType: 'FULL' } as never)).toThrow(
      /PEFT_QUANTIZED: .*held in 4 bits \(row-int4\), which cannot be trained/,
    );
  });
});

describe('a format that reads, and neither makes codes nor writes', () => {
  const reads: QuantizationFormat = {
    ...rowInt4,
    layers: (engine, options) => {
      const layerOf = rowInt4.layers(engine, options);
      return (spec) => Object.assign(layerOf(spec), { encode: undefined });
    },
  };
  const { write: _, ...readOnly } = reads;
  const plugin = () =>
    definePlugin({
      name: 'read-only',
      version: '1.0.0',
      apiVersion: 1,
      register: (context) => context.add(QuantizationFormats, readOnly),
    });

  test('loads what was quantised so; LoRA on it; each thing that it cannot do is refused', async () => {
    const attune = await open(plugin());
    const written = await write(await open(), { quantization });
    const base = await load(attune);
    expect(await codesOf(base)).toEqual(await codesOf(written));
    await expect(base.savePretrained(join(folder, 'again'))).rejects.toThrow(
      /QUANTIZATION_NOT_WRITTEN: savePretrained: 14 layers are held in 4 bits \(row-int4\)[\s\S]*dequantize\(\)/,
    );
    const model = getPeftModel(base, lora);
    for (const [name, parameter] of model.root.namedParameters())
      if (name.includes('lora_B')) parameter.write(new Float32Array(parameter.size).fill(0.02));
    const adapted = await logits(model);
    const refused =
      /PEFT_NOT_MERGEABLE: model\.layers\.\S+ is held in 4 bits \(row-int4\)[\s\S]*dequantize: true/;
    await expect(model.mergeAdapter()).rejects.toThrow(refused);
    await expect(model.mergeAndUnload()).rejects.toThrow(refused);
    expect(await logits(model)).toEqual(adapted);
    const merged = (await model.mergeAndUnload({ dequantize: true })) as CausalLM;
    expect(difference(await logits(merged), adapted)).toBeLessThan(1e-5);
    await merged.savePretrained(join(folder, 'again'));
  });

  test('refuses floats by the name of the tensor', async () => {
    const attune = await open(plugin());
    await write(attune);
    const { liveBytes } = attune.backend.stats;
    await expect(load(attune, { quantization })).rejects.toThrow(
      /QUANTIZATION_READ_ONLY: "model\.layers\.0\.\S+\.weight" would be held in 4 bits \(row-int4\)/,
    );
    expect(attune.backend.stats.liveBytes).toBe(liveBytes);
    await expect(AutoModelForCausalLM.fromConfig(config, { attune, quantization })).rejects.toThrow(
      /QUANTIZATION_READ_ONLY/,
    );
    expect(attune.backend.stats.liveBytes).toBe(liveBytes);
  });
});

describe('errors', () => {
  test.each<[string, object, RegExp]>([
    [
      'a format that nobody brings',
      { quantMethod: 'gptq', bits: 4 },
      /CHECKPOINT_QUANTIZED: quantization: .*"gptq"[\s\S]*quantised by bitsandbytes or row-int4\. A plugin may bring "gptq"/,
    ],
    ['another key', { ...quantization, groupSize: 64 }, /UNKNOWN_OPTION: .*"groupSize"/],
    [
      'another value',
      { quantMethod: 'row-int4', symmetric: false },
      /QUANTIZATION_INVALID: quantization: symmetric is false: .*expected true/,
    ],
    ['no object', 'row-int4' as never, /QUANTIZATION_INVALID: quantization: found text/],
  ])('%s', async (_, given, says) => {
    const attune = await open();
    await write(attune);
    await expect(load(attune, { quantization: given })).rejects.toThrow(says);
  });

  test('a layer that the format cannot hold is named, and may be left out', async () => {
    const attune = await open();
    const odd = { ...config, intermediate_size: 20 };
    const made = (options: object) => AutoModelForCausalLM.fromConfig(odd, { attune, ...options });
    await expect(made({ quantization })).rejects.toThrow(
      /QUANTIZATION_INVALID: model\.layers\.0\.mlp\.down_proj has 20 inputs[\s\S]*modulesToNotConvert/,
    );
    const skipping = { ...quantization, modulesToNotConvert: ['lm_head', 'down_proj'] };
    expect(layersOf(await made({ quantization: skipping }))).toHaveLength(12);
  });

  test('codes without their scales', async () => {
    const attune = await open();
    const broken = {
      ...rowInt4,
      write: (path: string, layer: QuantizedLayer) =>
        rowInt4.write!(path, layer).filter(({ name }) => !name.endsWith('down_proj.weight_scale')),
    };
    const torn = definePlugin({
      name: 'torn',
      version: '1.0.0',
      apiVersion: 1,
      register: (context) => context.add(QuantizationFormats, broken),
    });
    await write(await open(torn), { quantization });
    await expect(load(attune)).rejects.toThrow(
      /WEIGHTS_TENSOR_UNKNOWN: .*model\.layers\.0\.mlp\.down_proj\.weight_scale/,
    );
  });
});
