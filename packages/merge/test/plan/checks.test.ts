import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planMerge } from '../../src/mergeModels.js';
import type { PlanMergeOptions } from '../../src/options.js';
import { type TinyOptions, writeTiny } from '../tinyModels.js';

let scratch: string;
const at = (...parts: string[]) => join(scratch, ...parts);
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-checks-'));
  await writeTiny(at('a'), 'llama');
  await writeTiny(at('b'), 'llama', { seed: 1 });
});
afterAll(() => rm(scratch, { recursive: true }));

/** What a plan says of a YAML; paths of models are those of this test. */
async function wrong(yaml: string, options: PlanMergeOptions = {}): Promise<string> {
  const file = at('merge.yaml');
  await writeFile(file, yaml.replaceAll('$', `${scratch}/`));
  try {
    await planMerge(file, options);
  } catch (error) {
    return (error as Error).message.replaceAll(`${scratch}/`, '$');
  }
  throw new Error('planned');
}

async function warnings(yaml: string, options: PlanMergeOptions = {}): Promise<string[]> {
  const file = at('merge.yaml');
  await writeFile(file, yaml.replaceAll('$', `${scratch}/`));
  const plan = await planMerge(file, options);
  return plan.warnings.map((warning) => warning.replaceAll(`${scratch}/`, '$'));
}

const linear = (...names: string[]) => `merge_method: linear
models:
${names.map((name) => `- model: $${name}\n  parameters: { weight: 1 }\n`).join('')}`;

/** A model made for one test. */
async function model(name: string, options: TinyOptions & { family?: 'qwen2' } = {}) {
  await writeTiny(at(name), options.family ?? 'llama', options);
  return name;
}

describe('models that do not fit', () => {
  test('another architecture, and other numbers of heads: both in one message with their lines', async () => {
    await model('qwen', { family: 'qwen2' });
    await model('heads', { config: { num_attention_heads: 8 } });
    const message = await wrong(linear('a', 'qwen', 'heads'));
    expect(message.split('\n')).toEqual([
      'MERGE_INVALID: $merge.yaml:5:3: architectures differ: $qwen is Qwen2ForCausalLM (qwen2), $a is LlamaForCausalLM (llama).',
      '  $merge.yaml:7:3: sizes differ: num_attention_heads is 8 in $heads, 4 in $a.',
      '  Fix: Merge models of one architecture.',
    ]);
  });

  test('other shapes are named by kind of tensor', async () => {
    await model('wide', { inner: 22 });
    const message = await wrong(linear('a', 'b', 'wide'));
    expect(message).toMatch(
      /merge\.yaml:7:3: shapes differ: \[21, 16\] in \$a, \$b and \[22, 16\] in \$wide: model\.layers\.\*\.mlp\.gate_proj\.weight \(2 layers\), model\.layers\.\*\.mlp\.up_proj\.weight \(2 layers\)\./,
    );
    expect(message).toMatch(/\[16, 21\] in \$a, \$b and \[16, 22\] in \$wide: .*down_proj/);
    expect(message.split('\n')).toHaveLength(3);
  });

  test('tensors that one lacks, and biases that one has alone', async () => {
    await model('less', { tensors: (shapes) => shapes.delete('model.norm.weight') });
    await model('biased', {
      tensors: (shapes) => {
        for (const i of [0, 1]) shapes.set(`model.layers.${i}.self_attn.q_proj.bias`, [16]);
      },
    });
    const message = await wrong(linear('a', 'less', 'biased'));
    expect(message).toMatch(
      /merge\.yaml:5:3: tensors are missing: \$less lacks what \$a, \$biased have: model\.norm\.weight\./,
    );
    expect(message).toMatch(
      /merge\.yaml:3:3: tensors are missing: \$a, \$less lack what \$biased has: model\.layers\.\*\.self_attn\.q_proj\.bias \(2 layers\)\./,
    );
  });

  test('buffers that models compute anew may be missing', async () => {
    await model('buffers', {
      tensors: (shapes) => shapes.set('model.layers.0.self_attn.rotary_emb.inv_freq', [2]),
    });
    const file = at('merge.yaml');
    await writeFile(file, linear('a', 'buffers').replaceAll('$', `${scratch}/`));
    const { tasks } = await planMerge(file);
    expect(tasks.some(({ name }) => name.includes('inv_freq'))).toBe(false);
  });

  test('other numbers of layers; more layers in config.json than there are', async () => {
    await model('deep', { layers: 3 });
    await model('lying', { config: { num_hidden_layers: 5 } });
    const message = await wrong(linear('a', 'deep', 'lying'));
    expect(message).toMatch(
      /merge\.yaml:5:3: numbers of layers differ: \$deep has 3 \(model\.layers\.\*\), \$a has 2/,
    );
    expect(message).toMatch(
      /merge\.yaml:7:3: \$lying: num_hidden_layers is 5, but the weights have 2 layers/,
    );
  });

  test('vocabularies of other sizes: a tokenizer is the remedy, the first rows are an option', async () => {
    await model('words', { vocab: 15 });
    const yaml = linear('words', 'a');
    const message = await wrong(yaml);
    expect(message).toMatch(
      /vocabularies differ in size: \[15, 16\] in \$words and \[13, 16\] in \$a: model\.embed_tokens\.weight, lm_head\.weight\./,
    );
    expect(message).toMatch(/Fix: Write tokenizer: \{ source: union \}/);
    await writeFile(at('merge.yaml'), yaml.replaceAll('$', `${scratch}/`));
    const plan = await planMerge(at('merge.yaml'), { unsafeTruncateEmbeddings: true });
    for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) {
      const task = plan.tasks.find((candidate) => candidate.name === name)!;
      expect(task.shape).toEqual([13, 16]);
      for (const { source } of task.inputs) expect(source.tensor.shape).toEqual([13, 16]);
    }
    expect(plan.outConfig.vocab_size).toBe(13);
  });
});

describe('slices', () => {
  const slices = (...ranges: string[]) =>
    `merge_method: linear\nparameters: { weight: 1 }\nslices:\n${ranges
      .map((range) => `- sources:\n  - { model: $a, layer_range: ${range} }\n`)
      .join('')}`;

  test('layers that the model does not have', async () => {
    expect(await wrong(slices('[0, 1]', '[1, 3]'))).toMatch(
      /merge\.yaml:7:\d+: layer_range \[1, 3\] ends past the 2 layers of \$a\.\n {2}Fix: .*\[0, 2\]/,
    );
  });

  test('a model with two stacks has no slices, and merges whole', async () => {
    const towers: TinyOptions = {
      tensors: (shapes) => {
        for (const i of [0, 1, 2]) shapes.set(`vision.encoder.layers.${i}.fc1.weight`, [4, 4]);
      },
    };
    await model('seeing', towers);
    await model('seeing2', towers);
    const yaml = `merge_method: linear\nparameters: { weight: 1 }\nslices:\n- sources:\n  - { model: $seeing, layer_range: [0, 1] }\n`;
    expect(await wrong(yaml)).toMatch(
      /has 2 stacks of layers: .*3 \(vision\.encoder\.layers\.\*\)/,
    );
    await writeFile(at('merge.yaml'), linear('seeing', 'seeing2').replaceAll('$', `${scratch}/`));
    const { tasks, requests } = await planMerge(at('merge.yaml'));
    expect(tasks).toHaveLength(24);
    expect(requests.get('vision.encoder.layers.1.fc1.weight')!.t).toBe(0.5);
    expect(requests.get('model.layers.1.mlp.up_proj.weight')!.t).toBe(1);
  });

  test('layers past the number in config.json merge whole, and are left out of slices', async () => {
    await model('extra', { layers: 3, config: { num_hidden_layers: 2 } });
    const yaml = slices('[0, 2]').replace('$a', '$extra');
    expect(await warnings(yaml)).toEqual([
      expect.stringMatching(/^Slices leave out 9 tensors of layers past .*model\.layers\.2\./),
    ]);
    expect(await wrong(slices('[0, 3]').replace('$a', '$extra'))).toMatch(/ends past the 2 layers/);
    await writeFile(at('merge.yaml'), linear('extra').replaceAll('$', `${scratch}/`));
    const { tasks, outConfig } = await planMerge(at('merge.yaml'));
    expect(tasks).toHaveLength(30);
    expect(outConfig.num_hidden_layers).toBe(2);
  });

  test('a module that no model has', async () => {
    const yaml = `merge_method: linear\nmodules:\n  text:\n    models:\n    - { model: $a, parameters: { weight: 1 } }\n`;
    expect(await wrong(yaml)).toMatch(/merge\.yaml:3:3: there is no module "text"/);
  });
});

describe('warnings', () => {
  test('settings that differ: the same weights would compute something else', async () => {
    await model('theta', { config: { rope_theta: 5000, rms_norm_eps: 1e-5 } });
    expect(await warnings(linear('a', 'theta'))).toEqual([
      'rope_theta is 5000 in $theta, 10000 in $a, whose config the output has.',
      'rms_norm_eps is 0.00001 in $theta, 0.000001 in $a, whose config the output has.',
    ]);
  });

  test('tokenizers of one size with other tokens', async () => {
    const tokens = Array.from({ length: 13 }, (_, i) => (i === 4 ? 'other' : `t${i}`));
    await model('tokens', { tokens });
    const found = await warnings(linear('a', 'tokens'));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^The tokenizer of \$tokens is another than that of \$a.*"t4".*union/);
  });

  test('a revision of a folder', async () => {
    expect(await warnings(linear('a', 'b@main'))).toEqual([
      '$b@main: $b is a folder, of which there is no revision "main"; it is taken as it is.',
    ]);
  });
});

test('what is wrong with models comes before what is wrong with tensors, all of each at once', async () => {
  await model('wide', { inner: 22 });
  const yaml = `${linear('a', 'wide', 'gone', 'away')}parameters: { normalize: false }\n`;
  const message = await wrong(yaml);
  expect(message).toMatch(/there is no folder "\$gone"/);
  expect(message).toMatch(/there is no folder "\$away"/);
});

test('parameters and shapes that are wrong are in one message', async () => {
  await model('wide', { inner: 22 });
  const yaml = `merge_method: linear\nmodels:\n- model: $a\n  parameters: { weight: 1 }\n- model: $wide\n`;
  const message = await wrong(yaml);
  expect(message).toMatch(/shapes differ/);
  expect(message).toMatch(/weight of \$wide is not set/);
});
