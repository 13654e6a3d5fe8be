import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode } from '@attune/core/backend';
import { WeightFolder } from '@attune/core/io';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mergeFromYaml, mergeModels } from '../src/mergeModels.js';
import { writeTiny } from './tinyModels.js';

let scratch: string;
const at = (...parts: string[]) => join(scratch, ...parts);
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-models-'));
  await writeTiny(at('a'), 'llama');
  await writeTiny(at('b'), 'llama', { seed: 1, maxShardSize: 2000 });
  await writeTiny(at('tied'), 'llama', { seed: 2, tied: true });
});
afterAll(() => rm(scratch, { recursive: true }));

/** Every tensor of a folder, as numbers. */
async function numbers(folder: string): Promise<Map<string, number[]>> {
  await using weights = await WeightFolder.open(folder);
  const found = new Map<string, number[]>();
  for (const name of weights.names) {
    const { data, dtype } = await weights.get(name);
    const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    found.set(name, [...decode(bytes as ArrayBuffer, dtype, data.length)]);
  }
  return found;
}

const weighted = (...models: [string, number][]) =>
  models.map(([name, weight]) => ({ model: at(name), parameters: { weight } }));

test('a merge from code: weights, config, tokenizer, card', async () => {
  const outputDir = at('merged');
  const config = { mergeMethod: 'linear', models: weighted(['a', 3], ['b', 1]) };
  const { plan, tensors, report } = await mergeModels(config, { outputDir, workers: 0 });
  expect(tensors).toBe(21);
  expect(report).toBeNull();
  const [a, b, merged] = [await numbers(at('a')), await numbers(at('b')), await numbers(outputDir)];
  expect([...merged.keys()].sort()).toEqual(plan.tasks.map(({ name }) => name).sort());
  for (const [name, values] of merged)
    for (const [i, value] of values.entries())
      expect(value).toBeCloseTo((3 * a.get(name)![i]! + b.get(name)![i]!) / 4, 6);
  expect((await readdir(outputDir)).sort()).toEqual([
    'README.md',
    'config.json',
    'generation_config.json',
    'mergekit_config.yml',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect(await readFile(join(outputDir, 'README.md'), 'utf8')).toMatch('by [Linear]');
});

test('the card is a YAML that gives the same merge', async () => {
  const config = { mergeMethod: 'linear', models: weighted(['a', 1], ['tied', 2]) };
  await mergeModels(config, { outputDir: at('first'), workers: 0 });
  await mergeFromYaml(at('first', 'mergekit_config.yml'), { outputDir: at('second'), workers: 0 });
  const [first, second] = await Promise.all(
    ['first', 'second'].map((name) => readFile(at(name, 'model.safetensors'))),
  );
  expect(first!.equals(second!)).toBe(true);
  const written = JSON.parse(await readFile(at('second', 'config.json'), 'utf8'));
  expect(written.tie_word_embeddings).toBe(false);
});

test('slices give a model with other layers, in their order', async () => {
  const outputDir = at('deep');
  const slice = (name: string, begin: number, end: number) => ({
    sources: [{ model: at(name), layerRange: [begin, end] as const }],
  });
  const slices = [slice('a', 1, 2), slice('b', 0, 2), slice('a', 0, 1)];
  await mergeModels({ mergeMethod: 'passthrough', slices }, { outputDir, workers: 0 });
  const [a, b, merged] = [await numbers(at('a')), await numbers(at('b')), await numbers(outputDir)];
  const layer = (i: number) => `model.layers.${i}.mlp.up_proj.weight`;
  expect(merged.get(layer(0))).toEqual(a.get(layer(1)));
  expect(merged.get(layer(1))).toEqual(b.get(layer(0)));
  expect(merged.get(layer(2))).toEqual(b.get(layer(1)));
  expect(merged.get(layer(3))).toEqual(a.get(layer(0)));
  expect(merged.size).toBe(39);
  const config = JSON.parse(await readFile(join(outputDir, 'config.json'), 'utf8'));
  expect(config.num_hidden_layers).toBe(4);
});

test('like mergekit inputs are converted to dtype first; else the result alone is', async () => {
  const config = {
    mergeMethod: 'linear',
    models: weighted(['a', 1]),
    dtype: 'bfloat16',
    outDtype: 'float32',
  } as const;
  await mergeModels(config, { outputDir: at('plain'), workers: 0 });
  await mergeModels(config, { outputDir: at('like'), workers: 0, parity: 'mergekit' });
  const [a, plain, like] = await Promise.all(['a', 'plain', 'like'].map((n) => numbers(at(n))));
  expect(plain).toEqual(a);
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  for (const [name, values] of like!)
    for (const [i, value] of values.entries()) {
      float[0] = value;
      expect(bits[0]! & 0xffff).toBe(0);
      expect(Math.abs(value - a!.get(name)![i]!)).toBeLessThan(2 ** -9);
    }
});

test('a report is written beside the weights', async () => {
  const outputDir = at('reported');
  const config = {
    mergeMethod: 'task_arithmetic',
    baseModel: at('a'),
    models: weighted(['b', 0.5], ['a2', 0.5]),
  };
  await writeTiny(at('a2'), 'llama', { seed: 4 });
  const { report } = await mergeModels(config, {
    outputDir,
    report: true,
    writeModelCard: false,
    workers: 0,
  });
  expect(report!.models).toEqual([at('b'), at('a2')]);
  expect(report!.groups.map(({ label }) => label)).toEqual(['layer 0', 'layer 1', 'others']);
  const json = JSON.parse(await readFile(join(outputDir, 'merge-report.json'), 'utf8'));
  expect(json.method).toBe('task_arithmetic');
  expect(existsSync(join(outputDir, 'merge-report.html'))).toBe(true);
  expect(existsSync(join(outputDir, 'README.md'))).toBe(false);
});

test('a tokenizer is built, and embeddings lie in its order', async () => {
  const tokens = Array.from({ length: 13 }, (_, i) => `t${(i + 1) % 13}`);
  await writeTiny(at('turned'), 'llama', { seed: 5, tokens });
  const config = {
    mergeMethod: 'linear',
    models: weighted(['a', 0], ['turned', 1]),
    tokenizer: { source: 'base' },
    baseModel: at('a'),
  } as const;
  await mergeModels(config, { outputDir: at('aligned'), workers: 0 });
  const [turned, aligned] = await Promise.all(['turned', 'aligned'].map((n) => numbers(at(n))));
  for (const name of ['model.embed_tokens.weight', 'lm_head.weight'])
    for (let row = 0; row < 13; row++) {
      const from = (row + 12) % 13;
      expect(aligned!.get(name)!.slice(16 * row, 16 * row + 16)).toEqual(
        turned!.get(name)!.slice(16 * from, 16 * from + 16),
      );
    }
});

test('an output that is an input is refused, and an unknown option named', async () => {
  const config = { mergeMethod: 'linear', models: weighted(['a', 1]) };
  await expect(mergeModels(config, { outputDir: at('a'), overwrite: true })).rejects.toThrow(
    /is an input of the merge/,
  );
  const options = { outputDir: at('x'), outDir: 'y' };
  await expect(mergeModels(config, options)).rejects.toThrow(/UNKNOWN_OPTION.*outDir/);
  await writeFile(at('bad.yaml'), 'merge_method: linear\nmodels: []\n');
  await expect(mergeFromYaml(at('bad.yaml'), { outputDir: at('x') })).rejects.toThrow(
    /bad\.yaml:2:1: models is an empty list/,
  );
  expect(existsSync(at('x'))).toBe(false);
});
