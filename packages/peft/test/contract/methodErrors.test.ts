import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixtures, folder, load, open, untyped } from '../support.js';

const trained = (model: PeftModel) =>
  [...model.root.namedParameters()]
    .filter(([, parameter]) => parameter.trainable)
    .map(([name]) => name.replace('.modules_to_save.default', ''));

describe('BITFIT', () => {
  test('trains the biases of q, k and v of Qwen2', async () => {
    const model = getPeftModel(await load(await open(), 'tiny-qwen2'), { peftType: 'BITFIT' });
    const biases = [0, 1].flatMap((i) =>
      ['q', 'k', 'v'].map((name) => `model.layers.${i}.self_attn.${name}_proj.bias`),
    );
    expect(trained(model)).toEqual(biases);
  });

  test('has nothing to train on Llama, and says what to do', async () => {
    const base = await load(await open());
    expect(() => getPeftModel(base, { peftType: 'BITFIT' })).toThrow(
      /PEFT_NO_BIAS: BITFIT trains biases, and this llama model has none[\s\S]*IA3[\s\S]*LAYER_SELECT/,
    );
    expect(base.adapters).toBeNull();
    const targeted = { peftType: 'BITFIT', targetModules: ['q_proj'] } as const;
    expect(() => getPeftModel(base, targeted)).toThrow(/UNKNOWN_OPTION/);
  });
});

describe('LAYER_SELECT', () => {
  const choose = async (config: object, name = 'tiny-llama') =>
    trained(getPeftModel(await load(await open(), name), { peftType: 'LAYER_SELECT', ...config }));
  const norms = (i: number) => [
    `model.layers.${i}.input_layernorm.weight`,
    `model.layers.${i}.post_attention_layernorm.weight`,
  ];

  test('the last layers, modules in them, and what is outside', async () => {
    const last = await choose({ lastLayers: 1 });
    expect(last).toHaveLength(9);
    expect(last.every((name) => name.startsWith('model.layers.1.'))).toBe(true);
    const outside = { finalNorm: true, head: true };
    expect(await choose({ layersToTransform: [0], targetModules: ['mlp'], ...outside })).toEqual([
      ...['gate', 'up', 'down'].map((name) => `model.layers.0.mlp.${name}_proj.weight`),
      'model.norm.weight',
      'lm_head.weight',
    ]);
    expect(await choose({ targetModules: '.*layernorm' })).toEqual([...norms(0), ...norms(1)]);
    expect(await choose({ finalNorm: true })).toEqual(['model.norm.weight']);
    expect(await choose({ head: true }, 'tiny-qwen2')).toEqual(['model.embed_tokens.weight']);
    expect(await choose({ lastLayers: 2, excludeModules: ['self_attn', 'mlp'] })).toEqual([
      ...norms(0),
      ...norms(1),
    ]);
  });

  test('mistakes', async () => {
    await expect(choose({})).rejects.toThrow(/PEFT_CONFIG_INVALID: .*without a choice/);
    await expect(choose({ lastLayers: 3 })).rejects.toThrow(/lastLayers is 3; the model has 2/);
    await expect(choose({ layersToTransform: 2 })).rejects.toThrow(/layer 2; the model has 2/);
    await expect(choose({ lastLayers: 1, layersToTransform: 0 })).rejects.toThrow(/both/);
    await expect(choose({ targetModules: ['attn'] })).rejects.toThrow(
      /PEFT_NO_TARGET: LAYER_SELECT selects no parameter[\s\S]*self_attn\.q_proj/,
    );
  });
});

test('quantised weights cannot be trained', async () => {
  const attune = await open();
  const from = join(fixtures, 'tiny-qwen2');
  const quantization = { loadIn4bit: true };
  const base = await AutoModelForCausalLM.fromPretrained(from, { attune, quantization });
  for (const config of [
    { peftType: 'FULL' },
    { peftType: 'LAYER_SELECT', lastLayers: 1 },
    { peftType: 'LORA', targetModules: ['q_proj'], modulesToSave: ['o_proj'] },
  ])
    expect(() => getPeftModel(base, untyped(config))).toThrow(
      /PEFT_QUANTIZED: .*held in 4 bits \(fp4\)/,
    );
  expect(trained(getPeftModel(base, { peftType: 'BITFIT' }))).toHaveLength(6);
});

describe('IA3', () => {
  const of = async (config: object) =>
    getPeftModel(await load(await open()), { peftType: 'IA3', ...config }).peftConfig.default!;

  test('the default feed-forward modules are those that are targeted, so that PEFT reads the file', async () => {
    expect(await of({})).toMatchObject({
      targetModules: ['k_proj', 'v_proj', 'down_proj'],
      feedforwardModules: ['down_proj'],
    });
    expect(await of({ targetModules: ['q_proj'] })).toMatchObject({ feedforwardModules: [] });
    const { feedforwardModules } = await of({ targetModules: ['mlp.down_proj', 'o_proj'] });
    expect(feedforwardModules).toEqual(['mlp.down_proj']);
  });

  test('mistakes', async () => {
    await expect(
      of({ targetModules: ['q_proj'], feedforwardModules: ['up_proj'] }),
    ).rejects.toThrow(
      /PEFT_CONFIG_INVALID: feedforwardModules \["up_proj"\] are not in targetModules/,
    );
    await expect(of({ bias: 'all' })).rejects.toThrow(/UNKNOWN_OPTION: peftConfig\.bias/);
  });
});

describe('ADAPTER', () => {
  test('mistakes', async () => {
    const attune = await open();
    const adapter = (config: object) => async () =>
      getPeftModel(await load(attune), { peftType: 'ADAPTER', ...config });
    await expect(adapter({ variant: 'houlsbi' })()).rejects.toThrow(/PEFT_CONFIG_INVALID/);
    await expect(adapter({ targetModules: ['mpl'] })()).rejects.toThrow(/PEFT_NO_TARGET/);
    const model = await adapter({ bottleneckSize: 3 })();
    await expect(model.mergeAndUnload()).rejects.toThrow(
      /PEFT_NOT_MERGEABLE: ADAPTER adapters cannot be merged/,
    );
  });
});

test('half a file of VeRA', async () => {
  const attune = await open();
  const model = getPeftModel(await load(attune), { peftType: 'VERA', r: 4, saveProjection: false });
  const path = await folder();
  await model.savePretrained(path);
  const config = { peft_type: 'VERA', r: 4, target_modules: ['q_proj', 'v_proj'] };
  await writeFile(join(path, 'adapter_config.json'), JSON.stringify(config));
  await expect(PeftModel.fromPretrained(await load(attune), path)).rejects.toThrow(
    /PEFT_ADAPTER_INCOMPLETE: .*lacks 2 of the 10 tensors.*vera_A/,
  );
});
