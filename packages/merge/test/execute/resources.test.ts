import { expect, test } from 'vitest';
import { defineMergeMethod } from '../../src/contract/mergeMethod.js';
import type { TensorTask } from '../../src/contract/tensorTask.js';
import { executeMerge, planResources, predictPeak } from '../../src/execute/index.js';
import { builtinMethods } from '../../src/methods/index.js';
import { hashes, makeModel, mergedInMemory, optionsWith, planOf } from './support.js';

const whole = defineMergeMethod({
  name: 'whole',
  title: 'Whole',
  base: 'ignored',
  parameters: {},
  chunks: 'tensor',
  merge:
    () =>
    ({ inputs }, out) =>
      out.set(inputs[0]!),
});
const methods = new Map([...builtinMethods, whole].map((method) => [method.name, method]));

const taskOf = (shape: number[], more: Partial<TensorTask> = {}): TensorTask => {
  const tensor = { path: 'x', begin: 0, dtype: 'F32' as const, shape };
  const input = { model: 'm', name: 'w', source: { kind: 'file' as const, tensor } };
  return {
    name: 'model.embed_tokens.weight',
    shape,
    dtype: 'F32',
    method: 'linear',
    parameters: {},
    arithmetic: 'float32',
    inputs: [input, input, input],
    baseIndex: null,
    ...more,
  };
};
const plan = (tasks: TensorTask[], maxMemory: number | null, workers: number | null, cores = 4) =>
  planResources(tasks, methods, { maxMemory, workers, cores });
const large = Array.from({ length: 20 }, () => taskOf([4096, 4096]));

test('as many workers as cores, at most 8; none for a small merge or one core', () => {
  expect(plan(large, null, null)).toMatchObject({ workers: 4 });
  expect(plan(large, null, null, 64).workers).toBe(8);
  expect(plan(large, null, null, 1).workers).toBe(0);
  expect(plan([taskOf([100, 100])], null, null).workers).toBe(0);
  expect(plan([taskOf([100, 100])], null, 3).workers).toBe(3);
});

test('the peak does not grow with the tensors, only with the workers', () => {
  const at = (size: number, workers = 1) =>
    predictPeak([taskOf([size, 4096]), taskOf([size, 4096])], methods, workers);
  expect(at(2 ** 20)).toBe(at(2 ** 10));
  expect(at(2 ** 20, 2)).toBeGreaterThan(at(2 ** 20));
});

test('maxMemory makes workers fewer, then names what cannot fit', () => {
  const most = plan(large, null, 8, 8);
  expect(plan(large, most.peakBytes, 8, 8)).toEqual(most);
  const less = plan(large, most.peakBytes - 1, 8, 8);
  expect(less.workers).toBe(7);
  expect(less.peakBytes).toBeLessThan(most.peakBytes);
  expect(plan(large, 26 * 2 ** 20, 8, 8)).toMatchObject({ workers: 0 });
  expect(() => plan(large, 2 ** 20, null)).toThrow('"model.embed_tokens.weight" [4096,4096] needs');
  expect(() => plan([taskOf([4096, 4096], { method: 'whole' })], 100e6, null)).toThrow(
    'whole needs all at once',
  );
  const { tensor } = taskOf([4096, 4096]).inputs[0]!.source;
  const source = { kind: 'adapted' as const, tensor, adapter: 'a', name: 'w', round: null };
  const adapted = taskOf([4096, 4096], { inputs: [{ model: 'm+a', name: 'w', source }] });
  expect(() => plan([adapted], 100e6, null)).toThrow('192 MiB for what adapters add to it');
});

const perModel: Readonly<Record<string, object>> = { slerp: { t: 0.3 }, nearswap: { t: 0.01 } };

test('every method writes what it makes of tensors in memory', async () => {
  const folders = await Promise.all([1, 2, 3].map((seed) => makeModel(seed, 'bfloat16')));
  for (const method of builtinMethods) {
    const { name, base, inputs, models, parameters } = method;
    const most = Math.min(inputs?.max ?? 3, (models?.max ?? 2) + 1);
    const given = perModel[name] ?? ('weight' in parameters ? { weight: 0.6 } : {});
    const plan = await planOf(folders.slice(0, most), name, given as never, {
      baseIndex: base === 'ignored' ? null : most - 1,
      dtype: 'bfloat16',
    });
    const options = await optionsWith({ verify: true });
    await executeMerge(plan, options);
    expect(await hashes(options.outputDir), name).toMatchObject(await mergedInMemory(plan));
  }
});
