import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SafetensorsFile, type TensorToWrite, WeightFolder, writeWeights } from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture, fixtureJson, largestDifference } from '../../../core/test/models/support.js';
import { extractAdapter } from '../../src/index.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-extract-parity-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const saved = (name: string) => fixture(`row107-extracted/${name}`);
const baseOf = (name: string) => fixture(`tiny-${name.split('-')[0]}`);

/** The tuned model: the base with what the fixture has in the place of its own. */
async function tuned(name: string): Promise<string> {
  const folder = join(root, name);
  if ((await readdir(root)).includes(name)) return folder;
  await mkdir(folder);
  await using base = await WeightFolder.open(baseOf(name));
  await using changed = await SafetensorsFile.open(saved(`tuned.${name}.safetensors`));
  const tensors: TensorToWrite[] = [];
  for (const key of base.names)
    tensors.push(changed.has(key) ? await changed.read(key) : await base.get(key));
  await writeWeights(folder, tensors);
  await cp(join(baseOf(name), 'config.json'), join(folder, 'config.json'));
  return folder;
}

/** B A of each module of an adapter; of embeddings (B A)^T. */
async function products(folder: string): Promise<Map<string, Float64Array>> {
  await using file = await SafetensorsFile.open(join(folder, 'adapter_model.safetensors'));
  const read = async (name: string) => {
    const { shape, data } = await file.read(name);
    return { rows: shape[0]!, columns: shape[1]!, data: data as Float32Array };
  };
  const found = new Map<string, Float64Array>();
  for (const name of file.names.filter((key) => /_A(\.weight)?$/.test(key))) {
    const product = algebra.product(
      await read(name.replace(/_A(\.weight)?$/, '_B$1')),
      await read(name),
    );
    const path = name.replace('base_model.model.', '').replace(/\.lora_.*/, '');
    found.set(path, (name.includes('embedding') ? algebra.transposed(product) : product).data);
  }
  return found;
}

const options = {
  qwen2: { rank: 4 },
  'qwen2-energy': { energy: 0.6, maxRank: 12 },
  'qwen2-whole': { rank: 32, modulesToSave: 'changed' },
  'llama-embed': { rank: 4, embedLora: true },
  gpt2: { rank: 4 },
} as const;

describe('row 107: extraction', () => {
  it.each(Object.entries(options))('%s: the folder that PEFT was given', async (name, given) => {
    const model = name.replace('-energy', '');
    const outputDir = join(root, `out-${name}`);
    const models = { baseModel: baseOf(name), model: await tuned(model) };
    await extractAdapter({ ...models, ...given, outputDir });
    const config = async (folder: string) => ({
      ...JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')),
      base_model_name_or_path: '',
    });
    expect(await config(outputDir)).toEqual(await config(saved(name)));
    const [ours, theirs] = [await products(outputDir), await products(saved(name))];
    expect([...ours.keys()]).toEqual([...theirs.keys()]);
    for (const [path, product] of ours)
      expect(largestDifference(product, theirs.get(path)!)).toBeLessThan(1e-6);
  });

  it('PEFT merges what holds all of a difference into the tuned model', () => {
    const { cases } = fixtureJson('row107-extracted/cases.json');
    expect(cases['qwen2-whole'].mostOff).toBeLessThan(1e-6);
    expect(cases['qwen2-whole'].logitsOff).toBeLessThan(1e-5);
    expect(cases['llama-embed'].mostOff).toBeLessThan(1e-6);
    // The tuned GPT-2 is bfloat16: its rounding is of no rank that an adapter has.
    expect(cases.gpt2.mostOff).toBeLessThan(2 ** -8);
    expect(cases.qwen2.mostOff).toBeGreaterThan(0.1);
  });

  it.each([
    ['qwen2', 2, false],
    ['qwen2', 128, false],
    ['llama-embed', 2, true],
  ])('%s, rank %i: B A as mergekit has it', async (name, rank, embedLora) => {
    const outputDir = join(root, `${name}-${rank}`);
    const models = { baseModel: baseOf(name), model: await tuned(name) };
    await extractAdapter({ ...models, rank, embedLora, outputDir });
    await using expected = await SafetensorsFile.open(saved('mergekit.safetensors'));
    const ours = await products(outputDir);
    let compared = 0;
    for (const key of expected.names) {
      const path = key.startsWith(`${name}.r${rank}/`) ? key.split('/')[1]! : null;
      const product = path === null ? undefined : ours.get(path);
      if (!product) continue;
      const theirs = (await expected.read(key)).data as Float32Array;
      expect(largestDifference(product, theirs)).toBeLessThan(1e-5);
      compared++;
    }
    expect(compared).toBe({ 2: name === 'qwen2' ? 7 : 3, 128: 1 }[rank]);
  });
});
