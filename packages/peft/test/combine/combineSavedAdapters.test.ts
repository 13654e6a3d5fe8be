import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Attune, AutoModelForCausalLM, createAttune } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import {
  type CombineSavedOptions,
  combineSavedAdapters,
  getPeftModel,
  PeftModel,
  peft,
} from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { disturb, fixtures, folder, load, open, untyped } from '../support.js';

const saved = (name: string) => join(fixtures, name);
const one = saved('weighted-adapters/one');
const two = saved('weighted-adapters/two');
const pair = (weights: readonly [number, number] = [1, -0.5]): CombineSavedOptions['adapters'] => [
  { adapter: one, weight: weights[0] },
  { adapter: two, weight: weights[1] },
];

/** A folder that is not there. */
const fresh = async () => join(await folder(), 'made');

async function contents(path: string) {
  await using file = await SafetensorsFile.open(join(path, 'adapter_model.safetensors'));
  const tensors: Record<string, unknown> = {};
  for (const name of file.names)
    tensors[name] = [file.info(name).shape, await file.readBytes(name)];
  const config = JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8'));
  return { tensors, config: { ...config, target_modules: [...config.target_modules].sort() } };
}

describe('the same folder as addWeightedAdapter and savePretrained', () => {
  let attune: Attune;
  let model: PeftModel;
  beforeAll(async () => {
    attune = await createAttune({ backend: 'reference', plugins: [peft()] });
    const base = await AutoModelForCausalLM.fromPretrained(saved('tiny-qwen2'), {
      attune,
    });
    model = await PeftModel.fromPretrained(base, one, { adapterName: 'one' });
    await model.loadAdapter(two, { adapterName: 'two' });
  });
  afterAll(() => attune.dispose());

  test.each<Partial<Omit<CombineSavedOptions, 'adapters'>>>([
    {},
    { svdRank: 3 },
    { combinationType: 'linear' },
    { combinationType: 'linear', peftCompat: true },
    { combinationType: 'cat' },
    { combinationType: 'ties', density: 0.4 },
    { combinationType: 'ties_svd', density: 0.7, majoritySignMethod: 'frequency' },
    { combinationType: 'magnitude_prune', density: 0.3 },
    { combinationType: 'dare_linear', density: 0.5, seed: 3 },
    { combinationType: 'dare_ties', density: 0.5, seed: 4, peftCompat: true },
  ])('%j', async (options) => {
    const adapterName = `made${model.adapterNames.length}`;
    const given = { seed: 0, ...options };
    await model.addWeightedAdapter({
      adapters: ['one', 'two'],
      weights: [1, -0.5],
      adapterName,
      ...given,
    });
    const [theirs, ours] = [await folder(), await fresh()];
    await model.savePretrained(theirs, { selectedAdapters: [adapterName] });
    const { rank, layers } = await combineSavedAdapters({
      adapters: pair(),
      ...given,
      outputDir: ours,
    });
    const expected = await contents(join(theirs, adapterName));
    expect(await contents(ours)).toEqual(expected);
    expect(rank).toBe(expected.config.r);
    expect([...layers].sort()).toEqual(expected.config.target_modules);
    expect((await readdir(ours)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
    model.deleteAdapter(adapterName);
  });
});

test('embeddings, a head, GPT-2: what is combined is an adapter of the base', async () => {
  const attune = await open();
  for (const [name, config] of [
    ['tiny-llama', { targetModules: ['embed_tokens', 'lm_head'], r: 2 }],
    ['tiny-gpt2', { targetModules: ['c_attn'], r: 2, fanInFanOut: true }],
  ] as const) {
    const base = await load(attune, name);
    const made = getPeftModel(base, untyped({ peftType: 'LORA', ...config }));
    disturb(made);
    const path = await folder();
    await made.savePretrained(path);
    made.unload();
    const outputDir = await fresh();
    const adapters = [{ adapter: path, weight: 1 }];
    await combineSavedAdapters({ adapters, combinationType: 'cat', outputDir });
    const own = await PeftModel.fromPretrained(base, outputDir);
    expect(own.activeAdapters).toEqual(['default']);
    own.unload();
  }
});

test('an adapter may have a density of its own', async () => {
  const made = async (density: number | undefined, own: number | undefined) => {
    const outputDir = await fresh();
    const [first, second] = pair();
    await combineSavedAdapters({
      adapters: [{ ...first!, ...(own !== undefined && { density: own }) }, second!],
      combinationType: 'ties',
      ...(density !== undefined && { density }),
      outputDir,
    });
    return (await contents(outputDir)).tensors;
  };
  expect(await made(0.5, 0.5)).toEqual(await made(0.5, undefined));
  expect(await made(0.5, 1)).not.toEqual(await made(0.5, undefined));
  await expect(made(undefined, 0.5)).rejects.toThrow(/needs a density from 0 to 1/);
});

describe('refuses', () => {
  const refused = async (options: Partial<CombineSavedOptions>) => {
    const outputDir = options.outputDir ?? (await fresh());
    const error = await combineSavedAdapters({ adapters: pair(), ...options, outputDir }).then(
      () => 'it was written',
      String,
    );
    if (!options.outputDir) await expect(readdir(outputDir)).rejects.toThrow('ENOENT');
    return error;
  };

  /** A copy whose config has other fields. */
  async function changed(fields: object): Promise<string> {
    const path = await folder();
    await cp(two, path, { recursive: true });
    const file = join(path, 'adapter_config.json');
    await writeFile(
      file,
      JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...fields }),
    );
    return path;
  }

  test.each<[string, Partial<CombineSavedOptions>, RegExp]>([
    ['no adapters', { adapters: [] }, /PEFT_COMBINATION: combineSavedAdapters: 0 adapters/],
    ['an unknown type', { combinationType: 'tie' as never }, /Known: svd/],
    ['ties without density', { combinationType: 'ties' }, /needs a density/],
    ['an unknown option', { adapterName: 'x' } as object, /UNKNOWN_OPTION.*adapterName/],
    [
      'a folder that is none',
      { adapters: [{ adapter: '/no/where', weight: 1 }] },
      /PEFT_ADAPTER_MISSING/,
    ],
    [
      'DoRA',
      { adapters: [{ adapter: saved('adapters/dora-qv'), weight: 1 }] },
      /PEFT_COMBINATION: .*magnitudes/,
    ],
    [
      'whole modules',
      { adapters: [{ adapter: saved('adapters/modules-to-save-lm-head'), weight: 1 }] },
      /holds more than A and B: .*lm_head/,
    ],
  ])('%s', async (_, options, says) => {
    expect(await refused(options)).toMatch(says);
  });

  test('adapters of several bases, by name and by shape', async () => {
    const other = await changed({ base_model_name_or_path: 'org/other' });
    const adapters = [pair()[0]!, { adapter: other, weight: 1 }];
    expect(await refused({ adapters })).toMatch(
      /PEFT_OTHER_BASE: .*names the base "tiny-qwen2".*"org\/other".*baseModelNameOrPath/s,
    );
    const outputDir = await fresh();
    await combineSavedAdapters({ adapters, baseModelNameOrPath: 'org/tiny', outputDir });
    expect((await contents(outputDir)).config.base_model_name_or_path).toBe('org/tiny');
    const llama = { adapter: saved('adapters/lora-qv'), weight: 1 };
    const mixed = { adapters: [pair()[0]!, llama], baseModelNameOrPath: 'x' };
    expect(await refused(mixed)).toMatch(/PEFT_OTHER_BASE: .*q_proj" is \[32, 32\].*\[64, 64\]/);
  });

  test('a folder that is there', async () => {
    const outputDir = await fresh();
    await mkdir(outputDir, { recursive: true });
    expect(await refused({ outputDir })).toMatch(/PEFT_ADAPTER_EXISTS: .*there already/);
    await combineSavedAdapters({ adapters: pair(), outputDir, overwrite: true });
    expect(await readdir(outputDir)).toContain('adapter_config.json');
  });
});
