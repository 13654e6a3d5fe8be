import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '@attune/cli';
import { tensorToWrite, writeJson, writeSafetensors } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
const at = (name: string) => join(folder, name);

/** The difference of two of them has rank 1, and the norm changes too. */
async function model(name: string, scale: number): Promise<void> {
  await writeSafetensors(join(at(name), 'model.safetensors'), [
    tensorToWrite('model.embed_tokens.weight', [1, 2, 3, 4, 5, 6], [3, 2]),
    tensorToWrite('model.layers.0.mlp.up_proj.weight', [scale, 2 * scale, 0, 0], [2, 2]),
    tensorToWrite('model.norm.weight', [scale, 1], [2]),
  ]);
  await writeJson(join(at(name), 'config.json'), {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    num_hidden_layers: 1,
    tie_word_embeddings: true,
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cli-extract-'));
  await model('base', 1);
  await model('tuned', 3);
});
afterAll(() => rm(folder, { recursive: true }));

async function attune(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const status = await main(['extract-adapter', ...args], {
    out: (t) => out.push(t),
    err: (t) => err.push(t),
  });
  return { status, out: out.join('\n'), err: err.join('\n') };
}

describe('attune extract-adapter', () => {
  test('writes an adapter, and says what is not in it', async () => {
    const run = await attune(at('base'), at('tuned'), at('lora'), '--rank', '1');
    expect(run).toMatchObject({ status: 0 });
    expect(run.out).toContain(
      'lora: rank 1, 1 layer, with 100.0 % of the squared difference there.',
    );
    expect(run.out).toContain('Changed, and not in the adapter: model.norm.weight.');
    expect((await readdir(at('lora'))).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
    const again = await attune(at('base'), at('tuned'), at('lora'), '--rank', '1');
    expect(again).toMatchObject({ status: 2, err: expect.stringContaining('--overwrite') });
  });

  test('by energy, in 16 bits, with what changed saved whole', async () => {
    const flags = ['--energy', '0.9', '--max-rank', '2', '--dtype', 'float16', '--save', 'changed'];
    const run = await attune(
      ...[at('base'), at('tuned'), at('whole'), '--target', 'up_proj', '--uniform', ...flags],
    );
    expect(run.out).toContain('Saved whole: model.norm.');
    const config = JSON.parse(await readFile(join(at('whole'), 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ r: 1, target_modules: ['up_proj'], modules_to_save: ['norm'] });
  });

  test('--help fits into 80 columns', async () => {
    const { out, status } = await attune('--help');
    expect(status).toBe(0);
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test.each([
    [[], 'BASE, TUNED, OUT is missing'],
    [['BASE'], 'TUNED, OUT is missing'],
    [['BASE', 'TUNED', 'OUT', 'more'], '"more" is one argument too many'],
    [['BASE', 'TUNED', 'OUT'], 'neither rank nor energy'],
    [['BASE', 'TUNED', 'OUT', '--rank', '1', '--energy', '0.5'], 'both rank and energy'],
    [['BASE', 'TUNED', 'OUT', '--rank', 'x'], '--rank is "x"'],
    [['BASE', 'TUNED', 'OUT', '--rank', '1.5'], 'rank is 1.5'],
    [['BASE', 'TUNED', 'OUT', '--rank', '1', '--dtype', 'int8'], 'dtype is "int8"'],
    [['BASE', 'TUNED', 'OUT', '--rank', '1', '--target', 'uproj'], '"uproj" is no module'],
    [['BASE', 'BASE', 'OUT', '--rank', '1'], 'every one of them'],
    [['BASE', 'TUNED', 'OUT', '--rnk', '1'], '--rnk'],
  ])('%j is refused', async (args, message) => {
    const before = await readdir(folder);
    const paths: Readonly<Record<string, string>> = { BASE: 'base', TUNED: 'tuned', OUT: 'none' };
    const run = await attune(...args.map((arg) => (paths[arg] ? at(paths[arg]) : arg)));
    expect(run.status).toBe(2);
    expect(run.err).toContain(message);
    expect(await readdir(folder)).toEqual(before);
  });
});
