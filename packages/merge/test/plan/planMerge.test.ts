import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planMerge } from '../../src/mergeModels.js';
import { writeTiny } from '../tinyModels.js';

let scratch: string;
const at = (...parts: string[]) => join(scratch, ...parts);
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-plan-'));
  await writeTiny(at('a'), 'llama');
  await writeTiny(at('b'), 'llama', { seed: 1, maxShardSize: 2000 });
  await writeTiny(at('c'), 'llama', { seed: 2, dtype: 'bfloat16' });
  await writeTiny(at('tied'), 'llama', { seed: 3, tied: true });
  await writeTiny(at('tied2'), 'llama', { seed: 4, tied: true });
});
afterAll(() => rm(scratch, { recursive: true }));

const models = (...names: string[]) =>
  names.map((name) => ({ model: at(name), parameters: { weight: 1 } }));
const linear = (...names: string[]) => ({ mergeMethod: 'linear', models: models(...names) });

test('whole models: each tensor of each, in the order embedding, layers, norm, head', async () => {
  const plan = await planMerge(linear('a', 'b'));
  expect(plan.tasks).toHaveLength(21);
  const names = plan.tasks.map(({ name }) => name);
  expect(names[0]).toBe('model.embed_tokens.weight');
  expect(names.slice(1, 10).every((name) => name.startsWith('model.layers.0.'))).toBe(true);
  expect(names.slice(10, 19).every((name) => name.startsWith('model.layers.1.'))).toBe(true);
  expect(names.slice(19).sort()).toEqual(['lm_head.weight', 'model.norm.weight']);
  const task = plan.tasks.find(({ name }) => name === 'model.layers.1.mlp.up_proj.weight')!;
  expect(task).toMatchObject({
    shape: [21, 16],
    dtype: 'F32',
    method: 'linear',
    parameters: { weight: [1, 1], normalize: true },
    arithmetic: 'float32',
    baseIndex: null,
  });
  expect(task.inputs.map(({ model, name, source }) => [model, name, source.kind])).toEqual([
    [at('a'), task.name, 'file'],
    [at('b'), task.name, 'file'],
  ]);
  expect(plan.outConfig).toEqual(JSON.parse(await readFile(at('a', 'config.json'), 'utf8')));
  expect(plan.files.map(({ name }) => name)).toEqual([
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect(plan.warnings).toEqual([]);
});

test('a base that is not listed is the last input', async () => {
  const config = { ...linear('a'), baseModel: at('b'), parameters: { weight: 1 } };
  const plan = await planMerge(config);
  for (const { inputs, baseIndex } of plan.tasks) {
    expect(inputs.map(({ model }) => model)).toEqual([at('a'), at('b')]);
    expect(baseIndex).toBe(1);
  }
});

test('a head without rows is a tensor like others; no type of a model is text', async () => {
  for (const name of ['odd', 'odd2'])
    await writeTiny(at(name), 'llama', {
      tensors: (shapes) => void shapes.set('lm_head.weight', []),
      config: { model_type: { a: 1 } },
    });
  const plan = await planMerge(linear('odd', 'odd2'));
  expect(plan.tasks.find(({ name }) => name === 'lm_head.weight')!.shape).toEqual([]);
  await writeTiny(at('odd2'), 'llama', { config: { model_type: ['b'], architectures: null } });
  await expect(planMerge(linear('odd', 'odd2'))).rejects.toThrow('odd2 is ["b"]');
});

test.each<[object, string]>([
  [{ methods: [null] }, 'methods'],
  [{ methods: [{ name: 'x' }] }, 'methods'],
  [{ attune: {} }, 'attune is {}; expected what createAttune gives'],
  [{ workers: 1e6 }, 'workers is 1000000'],
])('the options %j are refused', async (options, message) => {
  await expect(planMerge(linear('a', 'b'), options as never)).rejects.toThrow(
    expect.objectContaining({
      code: 'INVALID_OPTION',
      message: expect.stringContaining(message),
    }),
  );
});

test('no weight is read before the plan is whole', async () => {
  const handle = await open(at('a', 'config.json'));
  const prototype = Object.getPrototypeOf(handle);
  await handle.close();
  const original = prototype.read;
  let weights = 0;
  let reads = 0;
  const headers = await Promise.all(
    ['a', 'c'].map(
      async (name) => 8 + Number((await readFile(at(name, 'model.safetensors'))).readBigUInt64LE()),
    ),
  );
  prototype.read = async function (...args: unknown[]) {
    const found = await original.apply(this, args);
    reads++;
    if (typeof args[3] === 'number' && args[3] + found.bytesRead > Math.max(...headers)) weights++;
    return found;
  };
  try {
    await planMerge(linear('a', 'c'));
  } finally {
    prototype.read = original;
  }
  expect(reads).toBeGreaterThan(3);
  expect(weights).toBe(0);
});

describe('dtypes', () => {
  test.each([
    [['a', 'b'], {}, 'F32', 'float32', 'float32'],
    [['c', 'c2'], {}, 'BF16', 'float32', 'bfloat16'],
    [['a', 'c'], {}, 'F32', 'float32', 'float32'],
    [['c', 'c2'], { dtype: 'float32' }, 'F32', 'float32', 'float32'],
    [['a', 'b'], { dtype: 'float16' }, 'F16', 'float32', 'float16'],
    [['a', 'b'], { dtype: 'bfloat16', outDtype: 'float32' }, 'F32', 'float32', 'bfloat16'],
    [['c', 'c2'], { outDtype: 'float16' }, 'F16', 'float32', 'bfloat16'],
  ] as const)('%j with %j', async (names, dtypes, written, plain, parity) => {
    await writeTiny(at('c2'), 'llama', { seed: 5, dtype: 'bfloat16' });
    const config = { ...linear(...names), ...dtypes };
    const plan = await planMerge(config);
    const like = await planMerge(config, { parity: 'mergekit' });
    for (const [i, task] of plan.tasks.entries()) {
      expect([task.dtype, task.arithmetic]).toEqual([written, plain]);
      expect([like.tasks[i]!.dtype, like.tasks[i]!.arithmetic]).toEqual([written, parity]);
    }
    const named = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' }[written];
    expect(plan.outConfig.torch_dtype).toBe(named);
  });

  test('integers are copied; integers and floats do not merge', async () => {
    const extra = (name: string, dtype: string) =>
      addTensor(at(name), 'model.layers.0.table', dtype, [3]);
    for (const name of ['i1', 'i2', 'i3']) await writeTiny(at(name), 'llama');
    await extra('i1', 'I64');
    await extra('i2', 'I64');
    await extra('i3', 'F32');
    const { tasks } = await planMerge(linear('i1', 'i2'));
    expect(tasks.find(({ name }) => name === 'model.layers.0.table')).toMatchObject({
      method: null,
      dtype: 'I64',
      parameters: {},
    });
    await expect(planMerge(linear('i1', 'i3'))).rejects.toThrow(
      /dtypes differ: I64 in .*i1 and F32 in .*i3: model\.layers\.\*\.table \(1 layer\)/,
    );
  });
});

/** Appends a tensor to a file of weights. */
async function addTensor(folder: string, name: string, dtype: string, shape: readonly number[]) {
  const path = join(folder, 'model.safetensors');
  const file = await readFile(path);
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const data = file.subarray(8 + length);
  const size = shape.reduce((a, b) => a * b, dtype === 'I64' ? 8 : 4);
  header[name] = { dtype, shape, data_offsets: [data.length, data.length + size] };
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([prefix, text, data, Buffer.alloc(size)]));
}

describe('tied heads', () => {
  test('models that tie give no head, and the output ties', async () => {
    const plan = await planMerge(linear('tied', 'tied2'));
    expect(plan.tasks.some(({ name }) => name === 'lm_head.weight')).toBe(false);
    expect(plan.outConfig.tie_word_embeddings).toBe(true);
  });

  test('beside one with a head, the embedding is the head of one that ties', async () => {
    const plan = await planMerge(linear('tied', 'a'));
    const head = plan.tasks.find(({ name }) => name === 'lm_head.weight')!;
    const embedding = plan.tasks.find(({ name }) => name === 'model.embed_tokens.weight')!;
    expect(head.inputs[0]!.source).toEqual(embedding.inputs[0]!.source);
    expect(head.inputs[1]!.source).not.toEqual(embedding.inputs[1]!.source);
    expect(plan.outConfig.tie_word_embeddings).toBe(false);
  });

  test('slices of other models at both ends untie the head', async () => {
    const slice = (name: string, begin: number) => ({
      sources: [{ model: at(name), layerRange: [begin, begin + 1] as const }],
    });
    const config = { mergeMethod: 'linear', parameters: { weight: 1 } };
    const other = await planMerge({ ...config, slices: [slice('tied', 0), slice('tied2', 1)] });
    const head = other.tasks.find(({ name }) => name === 'lm_head.weight')!;
    expect(head.inputs.map(({ model }) => model)).toEqual([at('tied2')]);
    expect(other.outConfig.tie_word_embeddings).toBe(false);
    const same = await planMerge({ ...config, slices: [slice('tied', 1), slice('tied', 1)] });
    expect(same.tasks.some(({ name }) => name === 'lm_head.weight')).toBe(false);
    expect(same.outConfig.tie_word_embeddings).toBe(true);
  });
});

test('the spelling of names is that of the first model', async () => {
  await writeTiny(at('g1'), 'gpt2', { tied: true });
  await writeTiny(at('g2'), 'gpt2', {
    tied: true,
    tensors: (shapes) => {
      for (const [name, shape] of [...shapes]) {
        shapes.delete(name);
        shapes.set(name.replace('transformer.', ''), shape);
      }
      shapes.set('h.0.attn.bias', [1, 1, 32, 32]);
      shapes.set('h.1.attn.masked_bias', [1]);
    },
  });
  const plan = await planMerge(linear('g1', 'g2'));
  expect(plan.tasks).toHaveLength(28);
  expect(plan.tasks.every(({ name }) => name.startsWith('transformer.'))).toBe(true);
  const bare = await planMerge(linear('g2', 'g1'));
  expect(bare.tasks.map(({ name }) => `transformer.${name}`).sort()).toEqual(
    plan.tasks.map(({ name }) => name).sort(),
  );
});
