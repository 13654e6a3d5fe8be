import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkAdapter, getPeftModel, type PeftConfigInput, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  disturb,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
} from '../support.js';

/** A reader's scale of a layer: of the config, and of the rank that its tensors have. */
type Rule = (config: Record<string, number | boolean>, rank: number) => number;

const rules: Readonly<Record<string, Rule>> = {
  vLLM: ({ lora_alpha, r, use_rslora }) =>
    Number(lora_alpha) / (use_rslora ? Math.sqrt(Number(r)) : Number(r)),
  'llama.cpp': ({ lora_alpha }, rank) => Number(lora_alpha) / rank,
};

/** s B A of every layer by its path, as a reader with this rule computes it. */
async function deltas(path: string, rule: Rule): Promise<Map<string, number[]>> {
  const config = JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8'));
  const tensors = await readTensors(join(path, 'adapter_model.safetensors'));
  const found = new Map<string, number[]>();
  for (const [name, a] of tensors) {
    const [, layer] = /^base_model\.model\.(.+)\.lora_A\.weight$/.exec(name) ?? [];
    if (!layer) continue;
    const b = tensors.get(name.replace('lora_A', 'lora_B'))!;
    const [r, inFeatures] = a.shape as [number, number];
    const scale = rule(config, r);
    const rows = Array.from({ length: b.shape[0]! }, (_, o) =>
      Array.from({ length: inFeatures }, (_, i) => {
        let sum = 0;
        for (let k = 0; k < r; k++) sum += b.data[o * r + k]! * a.data[k * inFeatures + i]!;
        return scale * sum;
      }),
    );
    found.set(layer, rows.flat());
  }
  return found;
}

async function expectClean(path: string): Promise<void> {
  for (const target of ['peft', 'vllm', 'llama.cpp'] as const)
    expect(await checkAdapter(path, { target }), target).toEqual([]);
}

/**
 * The folder is the one that PEFT read when the fixture was made, and PEFT's logits with it are
 * those of the adapter.
 */
async function expectReadByPeft(out: string, name: string, adapter: PeftModel): Promise<void> {
  const read = join(fixtures, 'row57-portable', name);
  const config = async (path: string) =>
    JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8')) as unknown;
  expect(await config(out)).toEqual(await config(read));
  const tensors = (path: string) => readTensors(join(path, 'adapter_model.safetensors'));
  const [ours, theirs] = await Promise.all([tensors(out), tensors(read)]);
  expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
  for (const [key, { shape, data }] of ours) {
    expect(shape, key).toEqual(theirs.get(key)!.shape);
    expect(largestDifference(data, theirs.get(key)!.data), key).toBeLessThan(1e-6);
  }
  const expected = await readTensors(join(read, 'expected.safetensors'));
  const found = await logits(adapter, [[...expected.get('input_ids')!.data]]);
  expect(largestDifference(found, expected.get('logits')!.data)).toBeLessThan(1e-5);
}

describe('row 57: what PEFT adds to each weight is added by both rules', () => {
  for (const [name, path, base] of [
    ['rslora-qv', 'adapters/rslora-qv', 'tiny-llama'],
    ['patterns', 'adapters/patterns', 'tiny-llama'],
    ['pissa', 'lora-variants/pissa-saved/raw', 'tiny-qwen2'],
    ['olora-rslora', 'lora-variants/olora-saved/raw', 'tiny-qwen2'],
  ] as const)
    test(name, async () => {
      const attune = await open();
      const model = await PeftModel.fromPretrained(await load(attune, base), join(fixtures, path));
      const out = await folder();
      await model.savePretrained(out, { portable: true });
      await expectClean(out);
      const expected = await readTensors(join(fixtures, `row57-portable/${name}.safetensors`));
      // The first factors of PiSSA and OLoRA are computed by two libraries: row 44 compares them to
      // 1e-5.
      const tolerance = path.endsWith('raw') ? 1e-5 : 1e-6;
      for (const [who, rule] of Object.entries(rules)) {
        const found = await deltas(out, rule);
        expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
        for (const [layer, values] of found)
          expect(
            largestDifference(values, expected.get(layer)!.data),
            `${who}, ${layer}`,
          ).toBeLessThan(tolerance);
      }
      const again = await PeftModel.fromPretrained(await load(attune, base), out);
      expect(largestDifference(await logits(again), await logits(model))).toBeLessThan(1e-5);
      await expectReadByPeft(out, name, model);
    });

  const fresh: Readonly<Record<string, PeftConfigInput>> = {
    'rsLoRA, r 16': { peftType: 'LORA', r: 16, loraAlpha: 16, useRslora: true },
    'an alpha that is no power of two': { peftType: 'LORA', r: 7, loraAlpha: 11, useRslora: true },
    'ranks of every kind': {
      peftType: 'LORA',
      r: 3,
      loraAlpha: 5,
      useRslora: true,
      targetModules: 'all-linear',
      rankPattern: { 'layers.0.*': 1, down_proj: 16 },
      alphaPattern: { q_proj: 32, 'layers.1.mlp.up_proj': 0.5 },
    },
    'the orthogonal start': { peftType: 'LORA', r: 4, initLoraWeights: 'orthogonal' },
  };
  for (const [name, config] of Object.entries(fresh))
    test(`${name}: the same effect as before`, async () => {
      const attune = await open();
      const model = getPeftModel(await load(attune), config);
      disturb(model);
      const out = await folder();
      await model.savePretrained(out, { portable: true });
      await expectClean(out);
      // What each layer adds, read off the base merged and not merged, in float64.
      const before = new Map(
        [...model.root.namedParameters()].map(([key, p]) => [key, p] as const),
      );
      const [vllm, llamaCpp] = await Promise.all(
        Object.values(rules).map((rule) => deltas(out, rule)),
      );
      expect([...vllm!]).toEqual([...llamaCpp!]);
      const weights = new Map<string, ArrayLike<number>>();
      for (const layer of vllm!.keys())
        weights.set(layer, await before.get(`${layer}.base_layer.weight`)!.tensor.data());
      const saved = await logits(model);
      await model.mergeAdapter();
      for (const [layer, delta] of vllm!) {
        const merged = await before.get(`${layer}.base_layer.weight`)!.tensor.data();
        const added = Array.from(merged, (value, i) => value - weights.get(layer)![i]!);
        expect(largestDifference(added, delta), layer).toBeLessThan(1e-6);
      }
      model.unmergeAdapter();
      const again = await PeftModel.fromPretrained(await load(attune), out);
      expect(largestDifference(await logits(again), saved)).toBeLessThan(1e-5);
    });
});

describe('refused, with what to do', () => {
  test('one of two adapters: nothing is written of the other', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), { peftType: 'LORA' });
    model.addAdapter('ia3', { peftType: 'IA3' });
    const out = await folder();
    await expect(model.savePretrained(out, { portable: true })).rejects.toMatchObject({
      code: 'PEFT_NOT_PORTABLE',
      description: expect.stringMatching(/"ia3"/),
    });
    expect(await readdir(out)).toEqual([]);
    await model.savePretrained(out, { portable: true, selectedAdapters: ['default'] });
    await expectClean(out);
  });

  test('a misspelt option', async () => {
    const model = getPeftModel(await load(await open()), { peftType: 'LORA' });
    await expect(
      model.savePretrained(await folder(), { portabel: true } as never),
    ).rejects.toMatchObject({
      code: 'UNKNOWN_OPTION',
      message: expect.stringMatching(/Did you mean "portable"/),
    });
  });

  for (const [name, base, config, reason] of [
    ['DoRA', 'tiny-llama', { peftType: 'LORA', useDora: true }, /magnitudes/],
    [
      'PiSSA with DoRA',
      'tiny-llama',
      { peftType: 'LORA', useDora: true, initLoraWeights: 'pissa', r: 4 },
      /magnitudes/,
    ],
    ['biases', 'tiny-qwen2', { peftType: 'LORA', bias: 'lora_only' }, /biases/],
    ['a bias of B', 'tiny-qwen2', { peftType: 'LORA', loraBias: true }, /biases/],
    ['modules', 'tiny-llama', { peftType: 'LORA', modulesToSave: ['lm_head'] }, /whole modules/],
    [
      'embeddings',
      'tiny-llama',
      { peftType: 'LORA', targetModules: ['embed_tokens'] },
      /embed_tok/,
    ],
    ['the head', 'tiny-llama', { peftType: 'LORA', targetModules: ['lm_head'] }, /lm_head/],
    ['GPT-2', 'tiny-gpt2', { peftType: 'LORA' }, /GPT-2/],
    ['IA3', 'tiny-llama', { peftType: 'IA3' }, /reads LORA alone/],
    ['VeRA', 'tiny-llama', { peftType: 'VERA', r: 4 }, /reads LORA alone/],
    ['prompts', 'tiny-llama', { peftType: 'PROMPT_TUNING', numVirtualTokens: 3 }, /LORA alone/],
    ['BitFit', 'tiny-qwen2', { peftType: 'BITFIT' }, /LORA alone/],
  ] as const)
    test(name, async () => {
      const attune = await open();
      const model = getPeftModel(await load(attune, base), config);
      const out = join(await folder(), 'adapter');
      await expect(model.savePretrained(out, { portable: true })).rejects.toMatchObject({
        code: 'PEFT_NOT_PORTABLE',
        description: expect.stringMatching(reason),
        remedy: expect.stringMatching(/mergeAndUnload/),
      });
      await expect(readFile(join(out, 'adapter_config.json'))).rejects.toThrow(/ENOENT/);
    });
});
