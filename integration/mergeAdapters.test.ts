import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attune, AutoModelForCausalLM, createAttune } from '@attune/core';
import { decode } from '@attune/core/backend';
import { SafetensorsFile, WeightFolder } from '@attune/core/io';
import { extractAdapter, mergeModels } from '@attune/merge';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture, fixtureJson, largestDifference } from '../packages/core/test/models/support.js';
import { disturb } from '../packages/peft/test/support.js';

let attune: Attune;
let root: string;
let count = 0;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', plugins: [peft()] });
  root = await mkdtemp(join(tmpdir(), 'attune-merge-adapters-'));
});
afterAll(async () => {
  await attune.dispose();
  await rm(root, { recursive: true, force: true });
});
const fresh = () => join(root, `${count++}`);

const llama = fixture('tiny-llama');
const adapter = (name: string) => fixture(`adapters/${name}`);
const adapted = (name: string) => `${llama}+${adapter(name)}`;

async function weightsOf(folder: string): Promise<Map<string, Float32Array>> {
  await using weights = await WeightFolder.open(folder);
  const found = new Map<string, Float32Array>();
  for (const name of weights.names) {
    const { dtype, data } = await weights.get(name);
    found.set(name, Float32Array.from(decode(data.buffer as ArrayBuffer, dtype, data.length)));
  }
  return found;
}

const load = (base: string) =>
  AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' });

/** What peft writes of a base with an adapter merged into it. */
async function mergedByPeft(base: string, path: string): Promise<string> {
  const model = await PeftModel.fromPretrained(await load(base), path);
  const merged = await model.mergeAndUnload();
  const folder = fresh();
  await merged.savePretrained(folder);
  merged.dispose();
  return folder;
}

const merge = async (config: Parameters<typeof mergeModels>[0]) => {
  const outputDir = fresh();
  await mergeModels(config, { outputDir, attune, workers: 0 });
  return outputDir;
};

function expectClose(a: Map<string, Float32Array>, b: Map<string, Float32Array>, limit: number) {
  for (const [name, values] of a)
    expect(largestDifference(values, b.get(name)!), name).toBeLessThan(limit);
}

describe('base+adapter', () => {
  it.each(['lora-qv', 'patterns', 'rslora-qv', 'all-linear'])(
    '%s: the weights that mergeAndUnload gives, and nothing else on the disk',
    async (name) => {
      const before = await readdir(root);
      const one = { model: adapted(name), parameters: { weight: 1 } };
      const outputDir = await merge({ mergeMethod: 'linear', dtype: 'float32', models: [one] });
      const added = (await readdir(root)).filter((entry) => !before.includes(entry));
      expect(added.map((entry) => join(root, entry))).toEqual([outputDir]);
      const theirs = await weightsOf(await mergedByPeft(llama, adapter(name)));
      expectClose(await weightsOf(outputDir), theirs, 1e-6);
    },
  );

  it("GPT-2's layers, which lie transposed", async () => {
    const base = fixture('tiny-gpt2');
    const model = getPeftModel(await load(base), {
      peftType: 'LORA',
      targetModules: ['c_attn', 'c_proj'],
      r: 2,
      fanInFanOut: true,
    });
    disturb(model);
    const path = fresh();
    await model.savePretrained(path);
    const one = { model: `${base}+${path}`, parameters: { weight: 1 } };
    const outputDir = await merge({ mergeMethod: 'linear', dtype: 'float32', models: [one] });
    const theirs = await weightsOf(await mergedByPeft(base, path));
    const ours = await weightsOf(outputDir);
    expectClose(ours, theirs, 1e-6);
    const plain = await weightsOf(base);
    const name = 'transformer.h.0.attn.c_attn.weight';
    expect(largestDifference(ours.get(name)!, plain.get(name)!)).toBeGreaterThan(1e-3);
  });

  it.each(['ties', 'linear'])(
    'several by %s: as merging the merged models',
    async (mergeMethod) => {
      const names = ['lora-qv', 'rslora-qv', 'all-linear'];
      const config = (models: readonly string[]) => ({
        mergeMethod,
        dtype: 'float32' as const,
        ...(mergeMethod === 'ties' && { baseModel: llama }),
        models: models.map((model, i) => ({
          model,
          parameters: { weight: 1 - i / 4, ...(mergeMethod === 'ties' && { density: 0.5 }) },
        })),
      });
      const merged: string[] = [];
      for (const name of names) {
        const one = { model: adapted(name), parameters: { weight: 1 } };
        merged.push(await merge({ mergeMethod: 'linear', dtype: 'float32', models: [one] }));
      }
      const [inPlace, whole] = [
        await merge(config(names.map(adapted))),
        await merge(config(merged)),
      ];
      expectClose(await weightsOf(inPlace), await weightsOf(whole), 1e-7);
    },
  );

  it('an adapter is an input, which no output replaces', async () => {
    const around = fresh();
    const path = join(around, 'lora');
    await cp(adapter('rslora-qv'), path, { recursive: true });
    await writeFile(join(around, 'config.json'), '{}');
    const models = [{ model: `${llama}+${path}`, parameters: { weight: 1 } }];
    for (const [outputDir, message] of [
      [path, 'is an input of the merge'],
      [join(path, 'merged'), 'lies in the input'],
      [around, 'holds the input'],
    ] as const) {
      const call = mergeModels(
        { mergeMethod: 'linear', models },
        { outputDir, attune, workers: 0, overwrite: true },
      );
      await expect(call).rejects.toThrow(message);
    }
    expect(await readdir(path)).toEqual(await readdir(adapter('rslora-qv')));
  });

  it('an adapter without weights is refused', async () => {
    const path = fresh();
    await cp(adapter('rslora-qv'), path, { recursive: true });
    await writeFile(join(path, 'adapter_model.safetensors'), '\x02\0\0\0\0\0\0\0{}');
    const models = [{ model: `${llama}+${path}`, parameters: { weight: 1 } }];
    const call = mergeModels({ mergeMethod: 'linear', models }, { outputDir: fresh(), attune });
    await expect(call).rejects.toThrow('is an adapter that changes nothing');
  });

  it('an adapter of another base is refused', async () => {
    const models = [{ model: `${llama}+${adapter('qwen2-qv')}`, parameters: { weight: 1 } }];
    const outputDir = fresh();
    const call = mergeModels({ mergeMethod: 'linear', models }, { outputDir, attune });
    await expect(call).rejects.toThrow(/MERGE_INVALID.*adapter of another base.*"tiny-qwen2"/s);
    await expect(readdir(outputDir)).rejects.toThrow('ENOENT');
  });
});

interface Case {
  readonly merge_method: string;
  readonly base_model?: string;
  readonly models: readonly [string, Record<string, number>][];
}

describe('row 106: model+lora, by mergekit', () => {
  const { cases, kept } = fixtureJson('row106-adapters-merged/cases.json');
  it.each(Object.entries(cases as Record<string, Case>))('%s', async (name, given) => {
    const outputDir = await merge({
      mergeMethod: given.merge_method,
      dtype: 'float32',
      ...(given.base_model && { baseModel: fixture(given.base_model) }),
      models: given.models.map(([path, parameters]) => ({
        model: `${llama}+${fixture(path)}`,
        parameters,
      })),
    });
    await using expected = await SafetensorsFile.open(
      fixture('row106-adapters-merged/expected.safetensors'),
    );
    const ours = await weightsOf(outputDir);
    for (const tensor of kept as string[]) {
      const theirs = (await expected.read(`${name}/${tensor}`)).data as Float32Array;
      expect(largestDifference(ours.get(tensor)!, theirs)).toBeLessThan(1e-6);
    }
  });
});

describe('extracted adapters', () => {
  it('out of base+adapter: the adapter', async () => {
    const outputDir = fresh();
    const { r } = JSON.parse(
      await readFile(join(adapter('rslora-qv'), 'adapter_config.json'), 'utf8'),
    );
    const { layers, leftOut, energy } = await extractAdapter({
      baseModel: llama,
      model: adapted('rslora-qv'),
      rank: r,
      attune,
      outputDir,
    });
    expect(leftOut).toEqual([]);
    expect(layers).toHaveLength(4);
    expect(energy).toBeCloseTo(1, 6);
    const [ours, theirs] = [
      await weightsOf(await mergedByPeft(llama, outputDir)),
      await weightsOf(await mergedByPeft(llama, adapter('rslora-qv'))),
    ];
    expectClose(ours, theirs, 1e-5);
  });

  // PEFT's logits with the folders of row 107.
  it.each(['qwen2', 'qwen2-energy', 'qwen2-whole', 'llama-embed', 'gpt2'])('%s', async (name) => {
    const base = await load(fixture(`tiny-${name.split('-')[0]}`));
    const model = await PeftModel.fromPretrained(base, fixture(`row107-extracted/${name}`));
    await using expected = await SafetensorsFile.open(fixture('row107-extracted/peft.safetensors'));
    const { data: ids } = await expected.read('input_ids');
    const inputIds = attune.engine.tensor([...ids], [1, ids.length], 'int32');
    const out = await attune.engine.noGrad(() => model.forward({ inputIds })).data();
    const theirs = (await expected.read(`${name}/logits`)).data as Float32Array;
    expect(largestDifference(out, theirs)).toBeLessThan(1e-4);
    base.dispose();
  });
});
