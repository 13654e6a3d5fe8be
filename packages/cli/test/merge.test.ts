import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '@attune/cli';
import { tensorToWrite, writeJson, writeSafetensors } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
let config: string;

async function model(name: string, scale: number): Promise<string> {
  const path = join(folder, name);
  await writeSafetensors(join(path, 'model.safetensors'), [
    tensorToWrite(
      'model.embed_tokens.weight',
      [1, 2, 3, 4, 5, 6].map((x) => x * scale),
      [3, 2],
    ),
    tensorToWrite('model.layers.0.mlp.up_proj.weight', [scale, -scale, 2, 0], [2, 2]),
    tensorToWrite('model.layers.0.input_layernorm.weight', [1, scale], [2]),
    tensorToWrite('model.norm.weight', [scale, 1], [2]),
  ]);
  await writeJson(join(path, 'config.json'), {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    hidden_size: 2,
    intermediate_size: 2,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    vocab_size: 3,
    tie_word_embeddings: true,
  });
  return path;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cli-merge-'));
  const [a, b] = [await model('a', 1), await model('b', 3)];
  config = join(folder, 'config.yaml');
  await writeFile(
    config,
    `merge_method: linear
models:
  - model: ${a}
    parameters: { weight: 1 }
  - model: ${b}
    parameters: { weight: 1 }
`,
  );
});
afterAll(() => rm(folder, { recursive: true }));

async function attune(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const status = await main(args, { out: (t) => out.push(t), err: (t) => err.push(t) });
  return { status, out: out.join('\n'), err: err.join('\n') };
}

describe('attune merge', () => {
  test('writes a model, verified, with a card and a report', async () => {
    const out = join(folder, 'out');
    const run = await attune('merge', config, out, '--verify', '--report', '--seed', '3');
    expect(run).toMatchObject({ status: 0, err: '' });
    expect(run.out).toMatch(/out: 4 tensors, 56 B in \d+\.\d s, verified\.\n/);
    expect(run.out).toContain('Linear');
    expect((await readdir(out)).sort()).toEqual([
      'README.md',
      'config.json',
      'merge-report.html',
      'merge-report.json',
      'mergekit_config.yml',
      'model.safetensors',
    ]);
    const again = await attune('merge', config, out);
    expect(again).toMatchObject({ status: 2, err: expect.stringContaining('overwrite') });
    expect(await attune('merge', config, out, '--overwrite', '--no-model-card')).toMatchObject({
      status: 0,
    });
    expect((await readdir(out)).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  test('--dry-run and --explain write nothing', async () => {
    const out = join(folder, 'none');
    const plan = await attune('merge', config, out, '--dry-run');
    expect(plan).toMatchObject({ status: 0, out: expect.stringContaining('4 tensors, 1 layer') });
    const why = await attune('merge', config, '--explain', 'model.norm.weight');
    expect(why).toMatchObject({ status: 0, out: expect.stringContaining('weight') });
    for (const line of `${plan.out}\n${why.out}`.split('\n').filter((l) => !l.includes(folder)))
      expect(line.length).toBeLessThanOrEqual(80);
    expect(await readdir(folder)).not.toContain('none');
    const unknown = await attune('merge', config, '--explain', 'model.norm.weigth');
    expect(unknown).toMatchObject({ status: 2, err: expect.stringContaining('model.norm.weight') });
  });

  test('flags of mergekit-yaml are read; those without effect are said', async () => {
    const out = join(folder, 'flags');
    const flags = [
      '--out-shard-size',
      '1k',
      '--random-seed',
      '1',
      '--lazy-unpickle',
      '-v',
      '-j',
      '0',
    ];
    const run = await attune('merge', config, out, '--no-write-model-card', '--cuda', ...flags);
    expect(run.status).toBe(0);
    expect(run.err.split('\n')).toEqual([
      expect.stringMatching(/^--cuda has no effect/),
      expect.stringMatching(/^--lazy-unpickle has no effect/),
      expect.stringMatching(/^--verbosity has no effect/),
    ]);
    expect(await readFile(join(out, 'config.json'), 'utf8')).toContain('llama');
  });

  test.each([
    [[], 'CONFIG, the YAML file, is missing'],
    [['CONFIG'], 'OUT, the folder to write, is missing'],
    [['CONFIG', 'out', 'more'], '"more" is one argument too many'],
    [['CONFIG', 'out', '--seed', '-1'], 'seed'],
    [['CONFIG', 'out', '--seed=1.5'], '--seed is "1.5"'],
    [['CONFIG', 'out', '--parity', 'torch'], '--parity is "torch"'],
    [['CONFIG', 'out', '--allow-crimes'], 'allow-crimes'],
    [['CONFIG', 'out', '--max-memory', 'little'], 'maxMemory is "little"'],
    [['CONFIG', 'out', '--shard-size', '5 apples'], '5 apples'],
    [['missing.yaml', 'out'], 'missing.yaml'],
  ])('%j is refused', async (args, message) => {
    const before = await readdir(folder);
    const run = await attune(
      'merge',
      ...args.map((arg) =>
        arg === 'CONFIG' ? config : arg === 'out' ? join(folder, arg + 9) : arg,
      ),
    );
    expect(run.status).toBe(2);
    expect(run.err).toContain(message);
    expect(await readdir(folder)).toEqual(before);
  });
});
