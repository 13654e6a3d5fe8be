import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { planMerge } from '../../src/mergeModels.js';
import { describePlan } from '../../src/plan/describePlan.js';
import { explainTensor } from '../../src/plan/explainTensor.js';
import { writeTiny } from '../tinyModels.js';

let scratch: string;
const at = (...parts: string[]) => join(scratch, ...parts);
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-describe-'));
  for (const [seed, name] of ['a', 'b', 'c'].entries())
    await writeTiny(at(name), 'llama', { seed, layers: 3 });
});
afterAll(() => rm(scratch, { recursive: true }));

const yaml = `merge_method: task_arithmetic
base_model: $a
models:
- model: $b
  parameters:
    weight: [{ filter: self_attn, value: [0, 1] }, { value: 0.25 }]
- model: $c
parameters:
  weight: 0.5
  lambda: 2
`;

async function plan(text = yaml) {
  await writeFile(at('merge.yaml'), text.replaceAll('$', `${scratch}/`));
  return planMerge(at('merge.yaml'));
}

const shown = (text: string): string => text.replaceAll(`${scratch}/`, '$');

test('the plan in words: models, bytes, memory, weights by kind of tensor', async () => {
  const described = describePlan(await plan(), { workers: 0, maxShardSize: 10_000 });
  const lines = shown(described).split('\n');
  for (const line of described.split('\n'))
    if (!line.includes(scratch)) expect(line.length).toBeLessThanOrEqual(80);
  expect(lines.slice(0, 4)).toEqual([
    'Task Arithmetic of 3 models: 30 tensors, 3 layers',
    '  A  $b',
    '  B  $c',
    '  C  $a  (base)',
  ]);
  const bytes = 4 * (2 * 13 * 16 + 16 + 3 * (2 * 16 + 2 * 16 * 16 + 2 * 8 * 16 + 3 * 21 * 16));
  const size = (n: number) => `${(n / 1024).toPrecision(3)} KiB`;
  expect(described).toContain(`read     ${size(3 * bytes)}`);
  expect(described).toMatch(new RegExp(`written {2}${size(bytes)} in 3 files of at most`));
  expect(described).toMatch(/memory {3}[\d.]+ MiB at most beside Node's own, with no workers/);
  expect(described).toContain('dtypes   F32; computed in float32');
  const table = lines.slice(lines.findIndex((line) => line.startsWith('Effective')));
  expect(table.map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['Effective weights', 'A', 'B', 'C'],
    ['model.embed_tokens.weight and 7 more', '0.5', '1', 'base'],
    [expect.stringMatching(/^\.\.\..*_proj\.weight and 3 more$/), '0..2', '1', 'base'],
  ]);
});

test('the weights of other methods', async () => {
  const table = async (text: string) => {
    const lines = describePlan(await plan(text)).split('\n');
    return lines
      .slice(1 + lines.findIndex((line) => line.startsWith('Effective')))
      .map((line) => line.trim().split(/ {2,}/).slice(1));
  };
  const two = 'models: [{ model: $a }, { model: $b }]\n';
  expect(
    await table(`merge_method: slerp\nbase_model: $a\n${two}parameters: { t: [0, 0.5] }\n`),
  ).toEqual([
    ['1', '0'],
    ['0.5..1', '0..0.5'],
  ]);
  expect(await table(`merge_method: linear\n${two}parameters: { weight: 3 }\n`)).toEqual([
    ['0.5', '0.5'],
  ]);
  expect(await table(`merge_method: karcher\n${two}`)).toEqual([['by method', 'by method']]);
});

test('a tensor is explained: files, parameters and where each is set', async () => {
  const found = await plan();
  const text = shown(explainTensor(found, 'model.layers.1.self_attn.q_proj.weight'));
  expect(text.split('\n').map((line) => line.replace(/byte \d+/, 'byte N'))).toEqual([
    'model.layers.1.self_attn.q_proj.weight: F32 [16, 16]',
    '  by Task Arithmetic (task_arithmetic, arXiv:2212.04089), computed in float32',
    '  position in its slice: t = 0.5',
    'Inputs',
    ...['A  $b', 'B  $c', 'C  $a  (base)'].flatMap((model) => [
      `  ${model}`,
      '     model.layers.1.self_attn.q_proj.weight: F32 [16, 16]',
      `     ${model.slice(3, 5)}/model.safetensors, from byte N`,
    ]),
    'Parameters',
    '  weight of A = 0.5: parameters of the model, filter "self_attn", gradient [0, 1], $merge.yaml:6:5',
    '  weight of B = 0.5: parameters of the config, $merge.yaml:9:3',
    '  density of A = 1: the default',
    '  density of B = 1: the default',
    '  lambda = 2: parameters of the config, $merge.yaml:10:3',
    '  normalize = false: the default',
    '  rescale = false: the default',
    '  int8_mask = false: the default',
    'Effective weights: A 1, B 1, C base',
  ]);
});

test('an unknown tensor: the nearest name', async () => {
  const found = await plan();
  expect(() => explainTensor(found, 'model.layers.1.self_atn.q_proj.weight')).toThrow(
    /no tensor "model\.layers\.1\.self_atn.*\n.*Did you mean "model\.layers\.1\.self_attn\.q_proj\.weight"/,
  );
});
