import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoModelForCausalLM, type LanguageModel } from '@attune/core';
import { adaptersOf } from '@attune/core/models';
import { getPeftModel, PeftModel } from '@attune/peft';
import { expect, test } from 'vitest';
import {
  disturb,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  untyped,
} from '../support.js';

const saved = (name: string) => join(fixtures, 'adapters', name);

/** Every parameter of a model, float32. */
async function weights({ root, engine }: LanguageModel): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>();
  for (const [name, { tensor }] of root.namedParameters()) {
    const copy = engine.noGrad(() => tensor.cast('float32').mul(1));
    found.set(name, Float32Array.from(await copy.data()));
    copy.dispose();
  }
  return found;
}

test('a saved adapter is loaded through the service of core', async () => {
  const attune = await open();
  const service = adaptersOf(attune, 'a reference was given');
  const base = await load(attune);
  const before = await logits(base);
  const model = await service.load(base, saved('lora-qv'), { adapterName: 'reference' });
  expect(model.adapters?.activeAdapters).toEqual(['reference']);
  expect(base.adapters).toBe(model.adapters);
  const direct = await PeftModel.fromPretrained(await load(attune), saved('lora-qv'));
  expect(await logits(model)).toEqual(await logits(direct));
  expect(await logits(model)).not.toEqual(before);
  expect(model.adapters!.withAdaptersDisabled(() => base.root)).toBe(base.root);
  expect(await model.adapters!.withAdaptersDisabled(() => logits(model))).toEqual(before);
  const trained = async (options: object) => {
    const own = await service.load(await load(attune), saved('lora-qv'), options);
    return [...own.root.namedParameters()].filter(([, p]) => p.trainable).length;
  };
  expect(await trained({})).toBe(0);
  expect(await trained({ isTrainable: true })).toBe(8);
  await expect(service.load(base, '/nowhere/else')).rejects.toThrow('PEFT_ADAPTER_MISSING');
});

test.each([
  ['lora-qv', 'tiny-llama'],
  ['all-linear', 'tiny-llama'],
  ['patterns', 'tiny-llama'],
  ['rslora-qv', 'tiny-llama'],
  ['regex', 'tiny-llama'],
  ['qwen2-qv', 'tiny-qwen2'],
])('the deltas of %s are what merging adds to the weights', async (name, baseName) => {
  const attune = await open();
  const base = await load(attune, baseName);
  const before = await weights(base);
  await using deltas = await adaptersOf(attune, 'a merge').openDeltas(saved(name));
  const merged = await (await PeftModel.fromPretrained(base, saved(name))).mergeAndUnload();
  const after = await weights(merged);
  expect(deltas.baseModelNameOrPath).toBe(baseName);
  const changed = [...after.keys()].filter(
    (key) => largestDifference(after.get(key)!, before.get(key)!) > 0,
  );
  expect([...deltas.names].sort()).toEqual(changed.sort());
  for (const key of deltas.names) {
    const { shape, dtype, data } = await deltas.read(key);
    expect(dtype).toBe('float32');
    expect(shape).toHaveLength(2);
    expect(deltas.shapeOf(key)).toEqual(shape);
    const difference = after.get(key)!.map((value, i) => value - before.get(key)![i]!);
    expect(largestDifference(data as Float32Array, difference)).toBeLessThan(1e-5);
  }
  await expect(deltas.read('model.norm.weight')).rejects.toThrow(
    /PEFT_TENSOR_UNKNOWN: .*changes no "model.norm.weight"/,
  );
});

test("GPT-2's layers lie transposed, where the file says so", async () => {
  const attune = await open();
  const from = join(fixtures, 'tiny-gpt2');
  const base = await AutoModelForCausalLM.fromPretrained(from, { attune, dtype: 'float32' });
  const before = await weights(base);
  const model = getPeftModel(base, {
    peftType: 'LORA',
    targetModules: ['c_attn', 'c_proj'],
    r: 2,
    fanInFanOut: true,
  });
  disturb(model);
  const path = await folder();
  await model.savePretrained(path);
  const after = await weights(await model.mergeAndUnload());
  const { openDeltas } = adaptersOf(attune, 'a merge');
  {
    await using deltas = await openDeltas(path);
    for (const key of deltas.names) {
      const { data } = await deltas.read(key);
      const difference = after.get(key)!.map((value, i) => value - before.get(key)![i]!);
      expect(largestDifference(data as Float32Array, difference)).toBeLessThan(1e-5);
    }
  }
  const file = join(path, 'adapter_config.json');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"fan_in_fan_out": true', '"fan_in_fan_out": false'));
  await expect(openDeltas(path)).rejects.toThrow(/PEFT_NOT_A_DELTA: .*c_attn.*fan_in_fan_out/);
});

test.each([
  ['dora-qv', /has magnitudes \(use_dora\)/],
  ['modules-to-save-lm-head', /holds more than A and B: .*lm_head/],
  ['qwen2-bias-all', /holds more than A and B: .*bias/],
  ['qwen2-lora-bias', /holds more than A and B: .*lora_B\.bias/],
])('%s is no difference of weights, and refused', async (name, why) => {
  const opened = adaptersOf(await open(), 'a merge').openDeltas(saved(name));
  await expect(opened).rejects.toThrow(/PEFT_NOT_A_DELTA/);
  await expect(opened).rejects.toThrow(why);
});

test.each([
  [{ peftType: 'IA3' }, /is "IA3", not LORA/],
  [{ peftType: 'LORA', initLoraWeights: 'pissa' }, /started with a part of the base/],
  [{ peftType: 'LORA', targetModules: ['embed_tokens'] }, /adapts model\.embed_tokens/],
])('%j is no difference of weights, and refused', async (config, why) => {
  const attune = await open();
  const model = getPeftModel(await load(attune), untyped(config));
  await model.ready();
  const path = await folder();
  await model.savePretrained(path);
  await expect(adaptersOf(attune, 'a merge').openDeltas(path)).rejects.toThrow(why);
});

test.each([
  ['init_lora_weights', 'loftq', /started with a part of the base/],
  ['layer_replication', [[0, 2]], /has layer_replication = \[\[0,2\]\]/],
])('%s of PEFT is refused', async (field, value, why) => {
  const path = await folder();
  await cp(saved('lora-qv'), path, { recursive: true });
  const file = join(path, 'adapter_config.json');
  const fields = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...fields, [field]: value }));
  await expect(adaptersOf(await open(), 'a merge').openDeltas(path)).rejects.toThrow(why);
});

test('a folder that is no adapter, and options that there are not', async () => {
  const { openDeltas } = adaptersOf(await open(), 'a merge');
  const path = await folder();
  await mkdir(path, { recursive: true });
  await expect(openDeltas(path)).rejects.toThrow('PEFT_ADAPTER_MISSING');
  await expect(openDeltas(saved('lora-qv'), { adapterName: 'x' } as object)).rejects.toThrow(
    'UNKNOWN_OPTION',
  );
});
