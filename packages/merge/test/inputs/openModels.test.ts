import {
  cp,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MergeConfig, ModelReference } from '../../src/config/mergeConfig.js';
import { openModels } from '../../src/inputs/openModels.js';
import { namedModels } from '../../src/inputs/references.js';
import { MergeProblems } from '../../src/problems.js';
import { writeTiny } from '../tinyModels.js';

let scratch: string;
const at = (...parts: string[]) => join(scratch, ...parts);
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-inputs-'));
  await writeTiny(at('a'), 'llama');
  await writeTiny(at('b'), 'llama', { seed: 1, maxShardSize: 2000, dtype: 'bfloat16' });
});
afterAll(() => rm(scratch, { recursive: true }));

const reference = (path: string, revision: string | null = null): ModelReference => ({
  path,
  revision,
  adapter: null,
  key: path,
});

const configOf = (...paths: string[]): MergeConfig => ({
  mergeMethod: 'linear',
  baseModel: null,
  modules: new Map([
    [
      'default',
      {
        models: paths.map((path) => ({ model: reference(path), parameters: {} })),
        parameters: {},
      },
    ],
  ]),
  form: 'models',
  parameters: {},
  dtype: null,
  outDtype: null,
  tokenizer: null,
  chatTemplate: null,
  yaml: '',
  file: 'merge.yaml',
  warnings: [],
  placeOf: ([_, i]) => ({ line: 3 + (i as number), column: 5 }),
  pathOf: () => null,
});

async function opening(...paths: string[]) {
  const problems = new MergeProblems();
  const config = configOf(...paths);
  const models = await openModels(config, {}, problems);
  return { config, models, problems };
}

test('a config names each model once, the base first', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((path) => reference(path));
  const slice = { sources: [], baseModel: c!, parameters: {} };
  const source = { model: b!, parameters: {}, layerRange: [0, 1] as const };
  const config: MergeConfig = {
    ...configOf(),
    form: 'modules',
    baseModel: a!,
    modules: new Map([
      ['default', { slices: [{ ...slice, sources: [source, source] }], parameters: {} }],
      ['other', { models: [{ model: a!, parameters: {} }], parameters: {} }],
    ]),
  };
  expect(namedModels(config)).toEqual([
    { reference: a, path: ['base_model'] },
    { reference: c, path: ['modules', 'default', 'slices', 0, 'base_model'] },
    { reference: b, path: ['modules', 'default', 'slices', 0, 'sources', 0, 'model'] },
  ]);
});

test('tensors are found where they lie, in one file or in shards', async () => {
  const { models, problems } = await opening(at('a'), at('b'));
  expect(problems.all).toEqual([]);
  for (const [key, { files }] of models) {
    expect(files.tensors.size).toBe(21);
    const tensor = files.tensors.get('model.layers.1.mlp.up_proj.weight')!;
    expect(tensor.shape).toEqual([21, 16]);
    expect(tensor.dtype).toBe(key === at('a') ? 'F32' : 'BF16');
    const file = await readFile(tensor.path);
    const header = Number(file.readBigUInt64LE(0));
    const described = JSON.parse(file.toString('utf8', 8, 8 + header));
    const [begin] = described['model.layers.1.mlp.up_proj.weight'].data_offsets;
    expect(tensor.begin).toBe(8 + header + begin);
  }
  expect(
    new Set([...models.get(at('b'))!.files.tensors.values()].map((t) => t.path)).size,
  ).toBeGreaterThan(2);
});

test('a folder is opened once, whatever it is called', async () => {
  await symlink(at('a'), at('link'));
  const { models } = await opening(at('a'), at('link'), `${at('a')}/`, `${at('b')}/../a`);
  const [first, ...others] = [...models.values()].map(({ files }) => files);
  expect(others).toHaveLength(3);
  for (const files of others) expect(files).toBe(first);
});

test('nothing is read of a file but its header', async () => {
  const read: [string, number][] = [];
  const handle = await open(at('a', 'config.json'));
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  const original = prototype.read;
  prototype.read = async function (...args: unknown[]) {
    const found = await original.apply(this, args);
    read.push([`${args[0]}`, (args[3] as number) + found.bytesRead]);
    return found;
  };
  try {
    await opening(at('a'));
  } finally {
    prototype.read = original;
  }
  const file = await readFile(at('a', 'model.safetensors'));
  const header = Number(file.readBigUInt64LE(0));
  const last = Math.max(...read.map(([, end]) => end));
  expect(last).toBe(8 + header);
});

describe('what cannot be opened', () => {
  test('everything that is wrong is in one message, each with its line', async () => {
    await writeFile(at('file'), 'x');
    await cp(at('a'), at('pickle'), { recursive: true });
    await rm(at('pickle', 'model.safetensors'));
    await writeFile(at('pickle', 'pytorch_model.bin'), '');
    await cp(at('a'), at('short'), { recursive: true });
    await truncate(at('short', 'model.safetensors'), 5000);
    await cp(at('a'), at('lfs'), { recursive: true });
    await writeFile(
      at('lfs', 'model.safetensors'),
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
    );
    await cp(at('b'), at('shard'), { recursive: true });
    const index = JSON.parse(await readFile(at('shard', 'model.safetensors.index.json'), 'utf8'));
    await rm(at('shard', Object.values(index.weight_map)[0] as string));
    await mkdir(at('adapter'));
    await writeFile(at('adapter', 'adapter_config.json'), '{}');
    const wrong = ['file', 'pickle', 'short', 'lfs', 'shard', 'adapter', 'no/such/thing'];
    const { config, models, problems } = await opening(...wrong.map((name) => at(name)), at('a'));
    expect([...models.keys()]).toEqual([at('a')]);
    let message = '';
    try {
      problems.throwIfAny(config);
    } catch (error) {
      message = (error as Error).message;
    }
    const lines = message.split('\n');
    expect(lines).toHaveLength(wrong.length + 1);
    const says = [
      /^MERGE_INVALID: merge\.yaml:3:5: .*file is a file, expected a folder/,
      /merge\.yaml:4:5: .*has neither model\.safetensors nor/,
      /merge\.yaml:5:5: .*short/,
      /merge\.yaml:6:5: .*lfs/,
      /merge\.yaml:7:5: .*names the shard "model-0000\d-of-.*which is not there/,
      /merge\.yaml:8:5: .*is an adapter, not a model/,
      /merge\.yaml:9:5: .*there is no folder/,
      /Fix: .*save it with save_pretrained.*git lfs pull.*base\+adapter/,
    ];
    for (const [i, pattern] of says.entries()) expect(lines[i]).toMatch(pattern);
  });

  test.each([
    [
      'a quantised one',
      { quantization_config: { quant_method: 'gptq', bits: 4 } },
      null,
      /is quantised \(quant_method "gptq"\)/,
    ],
    [
      'one with codes',
      {},
      'model.layers.0.mlp.up_proj.weight.absmax',
      /is quantised: it has the tensor ".*absmax"/,
    ],
    ['one of packed codes', {}, 'model.layers.0.mlp.up_proj.qweight', /is quantised: .*qweight"/],
  ])('%s is refused', async (name, config, tensor, says) => {
    await writeTiny(at(name), 'llama', {
      config,
      tensors: (shapes) => void (tensor && shapes.set(tensor, [4])),
    });
    const { problems } = await opening(at(name));
    expect(problems.all[0]!.message).toMatch(says);
    expect(problems.all[0]!.remedy).toMatch('quantise what comes out');
  });

  test('8-bit floats are refused', async () => {
    await writeTiny(at('f8'), 'llama');
    const header = JSON.stringify({ w: { dtype: 'F8_E4M3', shape: [4], data_offsets: [0, 4] } });
    const bytes = Buffer.alloc(8 + header.length + 4);
    bytes.writeBigUInt64LE(BigInt(header.length));
    bytes.write(header, 8);
    await writeFile(at('f8', 'model.safetensors'), bytes);
    const { problems } = await opening(at('f8'));
    expect(problems.all[0]!.message).toMatch(/holds "w" in F8_E4M3: 8-bit floats/);
  });

  test('a model without tensors is refused', async () => {
    await writeTiny(at('empty'), 'llama');
    await writeFile(at('empty', 'model.safetensors'), '\x02\0\0\0\0\0\0\0{}');
    const { problems } = await opening(at('empty'));
    expect(problems.all[0]!.message).toMatch(/empty has no tensors/);
  });

  test('base+adapter needs somebody who reads adapters', async () => {
    const problems = new MergeProblems();
    const base = configOf(at('a'));
    const adapter = { path: 'x', revision: null };
    const config = { ...base, baseModel: { ...reference(at('a')), adapter, key: 'a+x' } };
    await openModels(config, {}, problems);
    expect(problems.all).toHaveLength(1);
    expect(problems.all[0]!.message).toMatch('x is an adapter, and nobody here reads them');
    expect(problems.all[0]!.remedy).toMatch('plugins: [peft()]');
  });
});
