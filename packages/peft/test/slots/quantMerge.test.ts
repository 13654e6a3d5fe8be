import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Attune, AutoModelForCausalLM, type CausalLM } from '@attune/core';
import { BitsAndBytesLinear } from '@attune/core/nn';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { original } from '../../src/slots/adapterSlot.js';
import {
  disturb,
  fixtures,
  folder,
  largestDifference,
  logits,
  open,
  readTensors,
  untyped,
} from '../support.js';

const checkpoints = ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'];
const lora = {
  peftType: 'LORA',
  r: 4,
  loraAlpha: 8,
  targetModules: ['q_proj', 'down_proj'],
} as const;

const load = (attune: Attune, name: string): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(resolve(fixtures, name), { attune });

function layersOf(model: { readonly root: CausalLM['root'] | PeftModel['root'] }) {
  const found = new Map<string, BitsAndBytesLinear>();
  for (const [path, module] of model.root.namedModules())
    if (module instanceof BitsAndBytesLinear) found.set(path.replaceAll('.base_layer', ''), module);
  return found;
}

const stored = async (model: PeftModel) =>
  Promise.all([...layersOf(model).values()].map((layer) => layer.read()));

/** Warnings are collected. */
async function quiet() {
  const said: string[] = [];
  const attune = await open({
    logger: { info: () => {}, warn: (m) => said.push(m), error: () => {} },
  });
  return { attune, said };
}

describe.each(checkpoints)('merging into %s', (name) => {
  test('gives the weights that PEFT and bitsandbytes give, and says that it rounds', async () => {
    const { attune, said } = await quiet();
    const path = join(fixtures, 'quant-merge', name);
    const model = await PeftModel.fromPretrained(await load(attune, name), path);
    await model.mergeAdapter({ safeMerge: true });
    const layers = layersOf(model);
    const expected = await readTensors(join(path, 'expected.safetensors'));
    expect(expected.size).toBe(2);
    for (const [key, { data: theirs }] of expected) {
      const layer = layers.get(key.replace('weight.', ''))!;
      const ours = await attune.engine.noGrad(() => layer.dequantize()).data();
      const size = largestDifference(theirs, new Float32Array(theirs.length));
      // Sums of float32 in another order may cross the middle between two codes: at most one number
      // in a thousand.
      const other = ours.filter((value, i) => Math.abs(value - theirs[i]!) > 1e-5 * size);
      expect(other.length).toBeLessThanOrEqual(theirs.length / 1000);
      expect(largestDifference(ours, theirs)).toBeLessThan(0.2 * size);
    }
    const precision = name.endsWith('int8') ? '8 bits (int8)' : `4 bits (${name.slice(-3)})`;
    expect(said).toHaveLength(1);
    expect(said[0]).toContain(`merging into 4 layers held in ${precision} rounds`);
    expect(said[0]).toContain('mergeAndUnload({ dequantize: true })');
  });

  test('is near the adapter beside the base; unmerged, every bit is back', async () => {
    const { attune } = await quiet();
    const base = await load(attune, name);
    const before = await logits(base);
    const model = getPeftModel(base, { ...lora, bias: name.includes('qwen') ? 'all' : 'none' });
    disturb(model, 0.02);
    const adapted = await logits(model);
    const codes = await stored(model);
    const live = attune.engine.liveTensors;
    await model.mergeAdapter();
    const merged = await logits(model);
    expect(largestDifference(merged, adapted)).toBeGreaterThan(0);
    expect(largestDifference(merged, adapted)).toBeLessThan(1.5);
    model.unmergeAdapter();
    expect(await stored(model)).toEqual(codes);
    expect(await logits(model)).toEqual(adapted);
    expect(attune.engine.liveTensors).toBe(live);
    expect(await logits(model.unload())).toEqual(before);
  });

  test('merged for good it is a quantised model, saved and loaded as one', async () => {
    const { attune } = await quiet();
    const model = getPeftModel(await load(attune, name), lora);
    disturb(model, 0.02);
    const merged = (await model.mergeAndUnload()) as CausalLM;
    expect(layersOf(merged).size).toBe(14);
    const path = await folder();
    await merged.savePretrained(path);
    expect(await logits(await load(attune, path))).toEqual(await logits(merged));
  });

  test.each([true, 'float32', 'bfloat16'] as const)('dequantize: %s', async (dequantize) => {
    const { attune, said } = await quiet();
    const base = await load(attune, name);
    const model = getPeftModel(base, lora);
    disturb(model, 0.02);
    const adapted = await logits(model);
    // What mergeAdapter rounded is not what is kept.
    await model.mergeAdapter();
    said.length = 0;
    const merged = (await model.mergeAndUnload({ dequantize, safeMerge: true })) as CausalLM;
    expect(merged).toBe(base);
    expect(said).toEqual([]);
    expect(layersOf(merged).size).toBe(0);
    const layer = merged.root.submodule('model.layers.0.mlp.up_proj').ownParameters;
    expect(layer.get('weight')!.dtype).toBe(dequantize === true ? 'float32' : dequantize);
    const tolerance = dequantize === 'bfloat16' ? 0.1 : 1e-4;
    expect(largestDifference(await logits(merged), adapted)).toBeLessThan(tolerance);
    expect([...merged.root.namedParameters()].every(([, p]) => p.trainable)).toBe(true);

    const path = await folder();
    await merged.savePretrained(path);
    const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8'));
    expect(config.quantization_config).toBeUndefined();
    expect(layersOf(await load(attune, path)).size).toBe(0);
    expect(largestDifference(await logits(await load(attune, path)), adapted)).toBeLessThan(
      tolerance,
    );
  });
});

test('other methods merge too, DoRA and biases among them', async () => {
  const { attune } = await quiet();
  for (const config of [
    { ...lora, useDora: true },
    { ...lora, targetModules: ['q_proj'], loraBias: true },
    { peftType: 'IA3' },
    { peftType: 'VERA', r: 8, targetModules: ['q_proj'] },
  ]) {
    const model = getPeftModel(await load(attune, 'tiny-qwen2-fp4'), untyped(config));
    disturb(model, 0.05);
    const adapted = await logits(model);
    const merged = await model.mergeAndUnload({ dequantize: true });
    expect(largestDifference(await logits(merged), adapted)).toBeLessThan(1e-4);
  }
});

test('what is not finite is refused, and changes nothing', async () => {
  for (const name of checkpoints) {
    const { attune, said } = await quiet();
    const model = getPeftModel(await load(attune, name), lora);
    const b = new Map(model.root.namedParameters()).get(
      'model.layers.1.mlp.down_proj.lora_B.default.weight',
    )!;
    const slot = model.root.submodule('model.layers.1.mlp.down_proj');
    expect(original(slot)).toBeInstanceOf(BitsAndBytesLinear);
    // 1e6 overflows the float16 that int8 rounds to; the others hold it.
    const broken = name.endsWith('int8') ? [Number.NaN, 1e9] : [Number.NaN];
    for (const value of broken) {
      b.write(new Float32Array(b.size).fill(value));
      const codes = await stored(model);
      for (const dequantize of value === 1e9 ? [false] : [false, true])
        await expect(model.mergeAndUnload({ safeMerge: true, dequantize })).rejects.toThrow(
          /PEFT_MERGE_NOT_FINITE: .*down_proj/,
        );
      // Without safeMerge too: no code stands for it.
      await expect(model.mergeAdapter()).rejects.toThrow(/PEFT_MERGE_NOT_FINITE/);
      expect(await stored(model)).toEqual(codes);
      expect(said).toEqual([]);
    }
  }
});

test('a model with adapters is not dequantised under them', async () => {
  const attune = await open();
  const base = await load(attune, 'tiny-qwen2-fp4');
  const before = await logits(base);
  const model = getPeftModel(base, lora);
  expect(() => model.dequantize()).toThrow(/MODEL_HAS_ADAPTERS/);
  model.unload();
  base.dequantize();
  expect(layersOf(base).size).toBe(0);
  expect(largestDifference(await logits(base), before)).toBeLessThan(1e-5);
});
