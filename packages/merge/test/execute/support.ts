import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { decode, encode } from '@attune/core/backend';
import {
  type SafetensorsDType,
  type TensorToWrite,
  WeightFolder,
  writeJson,
  writeWeights,
} from '@attune/core/io';
import { Rng } from '@attune/core/util';
import { afterAll } from 'vitest';
import { mergeTensors } from '../../src/arithmetic/mergeTensors.js';
import { uniformStreams } from '../../src/arithmetic/uniformStreams.js';
import type { MergeMethod } from '../../src/contract/mergeMethod.js';
import type { StoredTensor, TensorTask } from '../../src/contract/tensorTask.js';
import type { ExecuteOptions } from '../../src/execute/index.js';
import { builtinMethods } from '../../src/methods/index.js';
import type { MergePlan } from '../../src/plan/mergePlan.js';

const made: string[] = [];
afterAll(async () => {
  for (const folder of made) await rm(folder, { recursive: true, force: true });
});

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-merge-'));
  made.push(folder);
  return folder;
}

export type FloatName = 'float32' | 'bfloat16' | 'float16';
const formats = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;

/** Odd sizes, one dimension and three, an empty one, one of several chunks. */
export const shapes: Readonly<Record<string, readonly number[]>> = {
  'model.embed_tokens.weight': [301, 17],
  'model.layers.0.mlp.weight': [7, 13],
  'model.layers.0.norm.weight': [13],
  'model.layers.0.conv.weight': [3, 5, 7],
  'model.scale': [1],
  'model.none': [0, 4],
  'model.large.weight': [257, 300],
};

/** Writes a model of normal numbers. @returns its folder */
export async function makeModel(
  seed: number,
  dtype: FloatName = 'float32',
  sizes = shapes,
): Promise<string> {
  const folder = await temporaryFolder();
  const tensors = Object.entries(sizes).map(([name, shape], k): TensorToWrite => {
    const rng = new Rng(seed, k);
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
      rng.normal(),
    );
    return { name, shape, dtype, data: encode(values, dtype) };
  });
  await writeWeights(folder, tensors, { maxShardSize: 400_000 });
  await writeJson(join(folder, 'config.json'), { model_type: 'llama' });
  return folder;
}

/** Where a tensor lies in a folder. */
export async function stored(folder: string, name: string): Promise<StoredTensor> {
  await using weights = await WeightFolder.open(folder);
  return weights.location(name);
}

/** A plan that merges whole models of the same tensors. */
export async function planOf(
  folders: readonly string[],
  method: string,
  parameters: TensorTask['parameters'],
  more: Partial<Pick<TensorTask, 'baseIndex' | 'arithmetic'>> & { dtype?: FloatName } = {},
): Promise<MergePlan> {
  const { dtype = 'float32', baseIndex = null, arithmetic = 'float32' } = more;
  await using weights = await WeightFolder.open(folders[0]!);
  const tasks: TensorTask[] = [];
  for (const name of weights.names)
    tasks.push({
      name,
      shape: weights.info(name).shape,
      dtype: formats[dtype],
      method,
      parameters,
      arithmetic,
      inputs: await Promise.all(
        folders.map(async (folder) => ({
          model: basename(folder),
          name,
          source: { kind: 'file' as const, tensor: await stored(folder, name) },
        })),
      ),
      baseIndex,
    });
  return planWith(tasks, folders);
}

export const planWith = (tasks: TensorTask[], folders: readonly string[]): MergePlan => ({
  config: null as never,
  method: null as never,
  requests: new Map(),
  tasks,
  outConfig: { model_type: 'llama', hidden_size: 17 },
  outConfigSource: null,
  files: [{ name: 'generation_config.json', contents: '{}\n' }],
  tokenizerChanges: [],
  folders: new Map(folders.map((folder) => [folder, folder])),
  warnings: [],
  seed: 3,
});

/** Options with a folder to write that is not there yet. */
export async function optionsWith(more: Partial<ExecuteOptions> = {}): Promise<ExecuteOptions> {
  return {
    outputDir: join(await temporaryFolder(), 'out'),
    overwrite: false,
    maxShardSize: '5GB',
    verify: false,
    methods: builtinMethods,
    workers: 0,
    ...more,
  };
}

/** Hashes of all files below a folder, by their paths. */
export async function hashes(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? dirname(folder), entry.name);
    found[relative(folder, path)] = createHash('sha1')
      .update(await readFile(path))
      .digest('hex');
  }
  return found;
}

const ours: Partial<Record<SafetensorsDType, FloatName>> = {
  F32: 'float32',
  BF16: 'bfloat16',
  F16: 'float16',
};

/** The same merge in memory, written by core. @returns the hashes of its weight files */
export async function mergedInMemory(
  plan: MergePlan,
  maxShardSize: number | string = '5GB',
  methods: readonly MergeMethod[] = builtinMethods,
): Promise<Record<string, string>> {
  const folder = await temporaryFolder();
  const tensors: TensorToWrite[] = [];
  for (const task of plan.tasks) {
    const { name, shape, inputs, method, parameters, baseIndex, arithmetic } = task;
    const values: Float32Array[] = [];
    for (const { source } of inputs) {
      const { path, begin, dtype } = source.tensor;
      const length = shape.reduce((a, b) => a * b, 1);
      const bytes = await readFile(path);
      const width = dtype === 'F32' ? 4 : 2;
      const data = bytes.buffer.slice(
        bytes.byteOffset + begin,
        bytes.byteOffset + begin + width * length,
      );
      values.push(Float32Array.from(decode(data as ArrayBuffer, ours[dtype]!, length)));
    }
    const merged = mergeTensors(values, methods.find((m) => m.name === method)!, {
      shape,
      parameters,
      dtype: arithmetic,
      name,
      random: uniformStreams(plan.seed, name),
      ...(baseIndex !== null && { baseIndex }),
    });
    tensors.push({ name, shape, dtype: task.dtype, data: encode(merged, ours[task.dtype]!) });
  }
  await writeWeights(folder, tensors, { maxShardSize });
  return hashes(folder);
}
