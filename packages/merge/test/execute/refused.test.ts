import { rmSync, truncateSync, utimesSync } from 'node:fs';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { encode } from '@attune/core/backend';
import { FolderLock, writeJson, writeSafetensors, writeWeights } from '@attune/core/io';
import { silentLogger } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { defineMergeMethod, type MergeChunk } from '../../src/contract/mergeMethod.js';
import type { TensorTask } from '../../src/contract/tensorTask.js';
import { type ExecuteOptions, executeMerge } from '../../src/execute/index.js';
import type { MergePlan } from '../../src/plan/mergePlan.js';
import {
  hashes,
  makeModel,
  mergedInMemory,
  optionsWith,
  planOf,
  planWith,
  stored,
  temporaryFolder,
} from './support.js';

const weight = [0.5, 0.5];
const models = () => Promise.all([makeModel(1), makeModel(2)]);
const linear = async (folders?: readonly string[]) =>
  planOf(folders ?? (await models()), 'linear', { weight });

/** Fails so, and leaves no output folder. */
async function refused(
  plan: MergePlan,
  options: ExecuteOptions,
  code: string,
  message: string | RegExp,
): Promise<void> {
  const before = await readdir(options.outputDir).catch(() => null);
  await expect(executeMerge(plan, options)).rejects.toMatchObject({
    code,
    message:
      typeof message === 'string'
        ? expect.stringContaining(message)
        : expect.stringMatching(message),
  });
  expect(await readdir(options.outputDir).catch(() => null)).toEqual(before);
}

const beside = async ({ outputDir }: ExecuteOptions) =>
  (await readdir(dirname(outputDir))).filter((name) => name !== basename(outputDir));

/** A method that does something when the first tensor begins. */
const doing = (act: () => void) => {
  let isFirst = true;
  return defineMergeMethod({
    name: 'doing',
    title: 'Doing',
    base: 'ignored',
    parameters: {},
    merge: () => {
      if (isFirst) act();
      isFirst = false;
      return ({ inputs }, out) => out.set(inputs[0]!);
    },
  });
};

describe('inputs', () => {
  test('a shard that is cut off', async () => {
    const folders = await models();
    const plan = await linear(folders);
    const path = plan.tasks.at(-1)!.inputs[1]!.source.tensor.path;
    await truncate(path, 1000);
    const options = await optionsWith();
    await refused(plan, options, 'MERGE_INPUT', `${path} has 1000 bytes, but its tensors end at`);
    expect(await beside(options)).toEqual([]);
  });

  test('a shard that is gone', async () => {
    const plan = await linear();
    const { path } = plan.tasks[0]!.inputs[1]!.source.tensor;
    await rm(path);
    await refused(
      plan,
      await optionsWith(),
      'MERGE_INPUT',
      `${path} was there when the merge was planned, and is gone`,
    );
  });

  test('a shard that vanishes, is cut off or is replaced midway', async () => {
    for (const [act, message] of [
      [(path: string) => rmSync(path), 'and is gone'],
      [(path: string) => truncateSync(path, 100), /ended at byte \d+ while \d+ more were expected/],
      [(path: string) => utimesSync(path, 1, 1), 'changed while it was merged'],
    ] as const) {
      const plan = await planOf(await models(), 'doing', {});
      const { path } = plan.tasks.at(-1)!.inputs[0]!.source.tensor;
      const options = await optionsWith({ methods: [doing(() => act(path))] });
      await refused(plan, options, 'MERGE_INPUT', message);
    }
  });
});

describe('results that a file cannot hold', () => {
  const plant = async (value: number, dtype: 'float32' | 'float16') => {
    const folder = await temporaryFolder();
    const data = new Float32Array(200_000);
    data[3 * 1000 + 7] = value;
    const w = { name: 'w', shape: [200, 1000], dtype, data: encode(data, dtype) };
    const path = join(folder, 'model.safetensors');
    await writeSafetensors(path, [w], { format: 'pt' }, { allowNonFinite: true });
    await writeJson(join(folder, 'config.json'), {});
    return folder;
  };

  test('too large for float16: named with the element', async () => {
    const folders = [await plant(60000, 'float32'), await plant(80000, 'float32')];
    const plan = await planOf(folders, 'linear', { weight }, { dtype: 'float16' });
    const options = await optionsWith();
    await refused(plan, options, 'MERGE_OVERFLOW', 'w [3, 7] is 70000, which is too large for F16');
    // 65519 is rounded to the largest float16, 65520 to infinity.
    const most = await planOf(
      [await plant(65519, 'float32')],
      'linear',
      { weight: [1] },
      { dtype: 'float16' },
    );
    await executeMerge(most, await optionsWith());
    const over = await planOf(
      [await plant(65520, 'float32')],
      'linear',
      { weight: [1] },
      { dtype: 'float16' },
    );
    await refused(over, await optionsWith(), 'MERGE_OVERFLOW', '65520');
  });

  test('NaN of an input, which is named', async () => {
    const broken = await plant(Number.NaN, 'float16');
    const plan = await planOf(
      [await plant(1, 'float16'), broken],
      'linear',
      { weight },
      { dtype: 'bfloat16' },
    );
    const message = `w [3, 7] is NaN, because it is NaN in ${basename(broken)} already ("w")`;
    await refused(plan, await optionsWith(), 'MERGE_NON_FINITE', message);
  });

  test('infinity that the method made', async () => {
    const plan = await planOf([await plant(3e38, 'float32')], 'linear', {
      weight: [2],
      normalize: false,
    });
    await refused(
      plan,
      await optionsWith(),
      'MERGE_NON_FINITE',
      'w [3, 7] is Infinity after linear, although no input is',
    );
  });
});

describe('integers', () => {
  const integers = async (values: readonly number[]) => {
    const folder = await temporaryFolder();
    const data = BigInt64Array.from(values, BigInt);
    await writeWeights(folder, [
      { name: 'ids', shape: [values.length], dtype: 'I64', data: new Uint8Array(data.buffer) },
    ]);
    return folder;
  };
  const planCopy = async (folders: string[]): Promise<MergePlan> => {
    const inputs = await Promise.all(
      folders.map(async (folder, k) => ({
        model: `m${k}`,
        name: 'ids',
        source: { kind: 'file' as const, tensor: await stored(folder, 'ids') },
      })),
    );
    const task: TensorTask = {
      name: 'ids',
      shape: [3],
      dtype: 'I64',
      method: null,
      parameters: {},
      arithmetic: 'float32',
      inputs,
      baseIndex: null,
    };
    return planWith([task], folders);
  };

  test('that are equal are copied, byte for byte', async () => {
    const folders = [await integers([1, -2, 3]), await integers([1, -2, 3])];
    const options = await optionsWith({ verify: true });
    await executeMerge(await planCopy(folders), options);
    expect(await hashes(options.outputDir)).toMatchObject(await hashes(folders[0]!));
  });

  test('that differ are refused, with both models', async () => {
    const plan = await planCopy([await integers([1, -2, 3]), await integers([1, -2, 4])]);
    await refused(
      plan,
      await optionsWith(),
      'MERGE_INTEGERS',
      'm1 and m0 differ in it from element 2 on',
    );
  });
});

describe('the output folder', () => {
  test('that is there is refused; replaced with overwrite; an empty one is fine', async () => {
    const plan = await linear();
    const options = await optionsWith();
    await mkdir(options.outputDir);
    await executeMerge(plan, options);
    const first = await hashes(options.outputDir);
    const other = await planOf([...plan.folders.keys()], 'linear', { weight: [1, 3] });
    await refused(other, options, 'MERGE_OUTPUT', /is there already, with \d files/);
    expect(await hashes(options.outputDir)).toEqual(first);
    await writeFile(join(options.outputDir, 'stale.txt'), '');
    await executeMerge(other, { ...options, overwrite: true });
    expect(await hashes(options.outputDir)).toMatchObject(await mergedInMemory(other));
    expect(await readdir(options.outputDir)).not.toContain('stale.txt');
    expect(await beside(options)).toEqual([]);
  });

  test('that holds no model is not replaced', async () => {
    const options = await optionsWith({ overwrite: true });
    await mkdir(options.outputDir);
    await writeFile(join(options.outputDir, 'thesis.tex'), '');
    await refused(await linear(), options, 'MERGE_OUTPUT', 'holds no model (thesis.tex)');
  });

  test('that is a file, an input, in an input, or around one', async () => {
    const around = await temporaryFolder();
    const input = join(around, 'model');
    await rename(await makeModel(1), input);
    const plan = await linear([input, await makeModel(2)]);
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    const link = join(await temporaryFolder(), 'link');
    await symlink(input, link);
    for (const [outputDir, message] of [
      [file, 'is a file'],
      [input, 'is an input of the merge'],
      [link, 'is an input of the merge'],
      [join(input, 'merged'), 'lies in the input'],
      [around, 'holds the input'],
    ] as const)
      await refused(
        plan,
        await optionsWith({ outputDir, overwrite: true }),
        'MERGE_OUTPUT',
        message,
      );
  });

  test.skipIf(process.getuid?.() === 0)('that cannot be written', async () => {
    const folder = await temporaryFolder();
    await chmod(folder, 0o500);
    await refused(
      await linear(),
      await optionsWith({ outputDir: join(folder, 'out') }),
      'DISK_WRITE',
      'permission denied',
    );
  });

  test('that is a link to nothing, or to itself, or has a name that is too long', async () => {
    const folder = await temporaryFolder();
    await symlink('nowhere', join(folder, 'broken'));
    await symlink('loop', join(folder, 'loop'));
    for (const [name, code, message] of [
      ['broken', 'MERGE_OUTPUT', 'is a link to something that does not exist'],
      ['loop', 'DISK_WRITE', 'too many symbolic links'],
      ['n'.repeat(300), 'DISK_WRITE', 'the name is too long'],
      ['n'.repeat(250), 'DISK_WRITE', 'the name is too long'],
    ] as const)
      await refused(
        await linear(),
        await optionsWith({ outputDir: join(folder, name) }),
        code,
        message,
      );
    expect((await readdir(folder)).sort()).toEqual(['broken', 'loop']);
  });

  test.skipIf(process.platform !== 'linux')('where there can be no folder', async () => {
    for (const outputDir of ['/proc/merged', '/proc/a/merged', '/dev/full/merged'])
      await refused(
        await linear(),
        await optionsWith({ outputDir }),
        'DISK_WRITE',
        'cannot be written',
      );
  });

  test('beside something that has the name of what grows there', async () => {
    const plan = await linear();
    const options = await optionsWith();
    const staging = join(dirname(options.outputDir), '.out.merging');
    await mkdir(join(staging, 'journal'), { recursive: true });
    await writeFile(join(staging, 'model'), '');
    await executeMerge(plan, options);
    expect(await beside(options)).toEqual([]);
    expect(await hashes(options.outputDir)).toMatchObject(await mergedInMemory(plan));
  });

  test('that was moved aside comes back, although somebody made an empty one', async () => {
    const plan = await linear();
    const options = await optionsWith();
    const aside = join(dirname(options.outputDir), '.out.merging', 'replaced');
    await mkdir(aside, { recursive: true });
    await writeFile(join(aside, 'config.json'), '{}');
    await mkdir(options.outputDir);
    await expect(executeMerge(plan, options)).rejects.toThrow('is there already');
    expect(await readdir(options.outputDir)).toEqual(['config.json']);
  });

  test('below a file', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    await refused(
      await linear(),
      await optionsWith({ outputDir: join(file, 'out') }),
      'DISK_WRITE',
      'cannot be written',
    );
  });

  test('on a full disk, before the first byte, with both numbers', async () => {
    const statfs = async () => ({ bavail: 100, bsize: 1024 });
    const options = await optionsWith({ statfs });
    await refused(
      await linear(),
      options,
      'MERGE_DISK',
      /The merge writes 3\d\d KiB, but .* has 100 KiB free/,
    );
    expect(await beside(options)).toEqual([]);
  });

  test('into which another process merges', async () => {
    const plan = await linear();
    const options = await optionsWith();
    const staging = join(dirname(options.outputDir), '.out.merging');
    await mkdir(staging);
    const use = { folder: options.outputDir, doing: 'merging' };
    const lock = await FolderLock.take(join(staging, 'lock'), use, silentLogger);
    await refused(plan, options, 'OUTPUT_DIR_IN_USE', 'has been merging into it since');
    await lock[Symbol.asyncDispose]();
    await executeMerge(plan, options);
    expect(await beside(options)).toEqual([]);
  });
});

describe('a merge that is stopped', () => {
  test('before it began writes nothing', async () => {
    const options = await optionsWith({ signal: AbortSignal.abort('enough') });
    await expect(executeMerge(await linear(), options)).rejects.toMatchObject({
      code: 'MERGE_STOPPED',
      remedy: 'Nothing was written.',
      cause: 'enough',
    });
    expect(await beside(options)).toEqual([]);
  });

  test('before a tensor is whole leaves nothing, and what another merge left stays', async () => {
    const failing = doing(() => {
      throw new Error('no');
    });
    const plan = await planOf(await models(), 'doing', {});
    const options = await optionsWith({ methods: [failing] });
    await expect(executeMerge(plan, options)).rejects.toThrow('no');
    expect(await beside(options)).toEqual([]);

    const controller = new AbortController();
    const finish = async () => controller.abort();
    const stopping = { ...options, ...(await optionsWith()), signal: controller.signal, finish };
    const { outputDir } = options;
    const good = await linear();
    await expect(executeMerge(good, { ...stopping, outputDir })).rejects.toThrow('MERGE_STOPPED');
    const full = { ...options, statfs: async () => ({ bavail: 0, bsize: 1 }) };
    await expect(executeMerge(plan, full)).rejects.toThrow('MERGE_DISK');
    expect(await executeMerge(good, { ...(await optionsWith()), outputDir })).toMatchObject({
      tensorsKept: good.tasks.length,
    });
  });

  test('says where it goes on from, and goes on', async () => {
    const controller = new AbortController();
    let begun = 0;
    const method = {
      ...doing(() => undefined),
      merge: () => {
        if (++begun === 3) controller.abort(new Error('enough'));
        return ({ inputs }: MergeChunk, out: Float32Array) => out.set(inputs[0]!);
      },
    };
    const plan = await planOf(await models(), 'doing', {});
    const whole = await mergedInMemory(plan, '5GB', [doing(() => undefined)]);
    const options = await optionsWith({ methods: [method] });
    const stopping = { ...options, signal: controller.signal };
    const staging = join(dirname(options.outputDir), '.out.merging');
    await expect(executeMerge(plan, stopping)).rejects.toMatchObject({
      code: 'MERGE_STOPPED',
      remedy: expect.stringContaining(staging),
      cause: expect.objectContaining({ message: 'enough' }),
    });
    expect(await beside(options)).toEqual(['.out.merging']);
    await executeMerge(plan, options);
    expect(await hashes(options.outputDir)).toMatchObject(whole);
    expect(await beside(options)).toEqual([]);
  });

  test('keeps what is whole; what was damaged meanwhile is done again; another merge begins anew', async () => {
    const plan = await linear();
    const whole = await mergedInMemory(plan);
    /** Stops when all tensors are written, and the folder is not yet in its place. */
    const begin = async (): Promise<ExecuteOptions> => {
      const options = await optionsWith();
      const controller = new AbortController();
      const finish = async () => controller.abort();
      const stopping = { ...options, signal: controller.signal, finish };
      await expect(executeMerge(plan, stopping)).rejects.toMatchObject({ code: 'MERGE_STOPPED' });
      return options;
    };
    const all = plan.tasks.length;
    const options = await begin();
    expect(await executeMerge(plan, options)).toMatchObject({ tensorsKept: all });
    expect(await hashes(options.outputDir)).toMatchObject(whole);

    const damaged = await begin();
    const model = join(dirname(damaged.outputDir), '.out.merging', 'model', 'model.safetensors');
    const bytes = await readFile(model);
    await writeFile(model, bytes.fill(1, bytes.length - 3));
    expect(await executeMerge(plan, damaged)).toMatchObject({ tensorsKept: all - 1 });
    expect(await hashes(damaged.outputDir)).toMatchObject(whole);

    const other = await begin();
    const reseeded = { ...plan, seed: plan.seed + 1 };
    expect(await executeMerge(reseeded, other)).toMatchObject({ tensorsKept: 0 });
  });
});

test('a method that there is not is named, with the nearest', async () => {
  const plan = await planOf(await models(), 'linaer', {});
  await refused(plan, await optionsWith(), 'MERGE_METHOD', 'Did you mean "linear"?');
});
