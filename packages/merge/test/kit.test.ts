import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineMergeMethod, type MergeMethod, perModel, shared } from '../src/index.js';
import { builtinMethods } from '../src/methods/index.js';
import { mergeMethodKit } from '../src/testing/index.js';

/** What methods need, and those that draw. */
const needed: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  slerp: { t: 0.3 },
  nearswap: { t: 0.3 },
};
const random = ['dare_linear', 'dare_ties', 'della', 'della_linear'];

for (const method of builtinMethods)
  describe(method.name, () => {
    const parameters = {
      ...('weight' in method.parameters && { weight: 0.7 }),
      ...(random.includes(method.name) && { density: 0.5 }),
      ...needed[method.name],
    };
    const isRandom = random.includes(method.name);
    for (const { name, run } of mergeMethodKit(method, { parameters, isRandom })) test(name, run);
  });

describe('a method that', () => {
  type Merge = MergeMethod['merge'];
  const broken = (merge: Merge, changes: Partial<MergeMethod> = {}) =>
    mergeMethodKit({
      ...defineMergeMethod({
        name: 'broken',
        title: 'Broken',
        base: 'optional',
        models: { min: 1 },
        parameters: {},
        merge,
      }),
      ...changes,
    });
  const failures = async (checks: ReturnType<typeof mergeMethodKit>) => {
    const failed: string[] = [];
    for (const { name, run } of checks) await run().catch(() => failed.push(name));
    return failed.join();
  };
  const first: Merge =
    () =>
    ({ models }, out) =>
      out.set(models[0]!);

  test('is right is not caught', async () => {
    expect(await failures(broken(first))).toBe('');
  });
  test('counts calls', async () => {
    let calls = 0;
    const merge: Merge = () => {
      calls++;
      return (_chunk, out) => out.fill(calls);
    };
    expect(await failures(broken(merge))).toMatch('the same bits');
  });
  test('writes into its inputs', async () => {
    const merge: Merge =
      () =>
      ({ models }, out) => {
        models[0]!.fill(0);
        out.fill(0);
      };
    expect(await failures(broken(merge))).toMatch('stay as they are');
  });
  test('counts in scratch memory without clearing it', async () => {
    const merge: Merge = (group) => {
      const sums = group.scratch(1)(0, group.length);
      for (const { start, models } of group.chunks())
        for (const [i, value] of models[0]!.entries()) sums[start + i] = sums[start + i]! + value;
      return ({ start, length }, out) => out.set(sums.subarray(start, start + length));
    };
    expect(await failures(broken(merge))).toMatch('no scratch memory');
  });
  test('takes a piece for the tensor', async () => {
    const merge: Merge =
      () =>
      ({ models }, out) =>
        out.fill(Math.max(...models[0]!));
    expect(await failures(broken(merge))).toMatch('however tensors are cut');
    expect(await failures(broken(merge, { chunks: 'tensor' }))).toBe('');
  });
  test('leaves elements out', async () => {
    const merge: Merge =
      () =>
      ({ models }, out) =>
        out.set(models[0]!.subarray(1), 1);
    expect(await failures(broken(merge))).toMatch('writes every element');
  });
  test('divides by a norm', async () => {
    const merge: Merge = (group) => {
      let sum = 0;
      for (const { models } of group.chunks()) for (const v of models[0]!) sum += v * v;
      return ({ models }, out) => out.set(models[0]!.map((v) => v / Math.sqrt(sum)));
    };
    expect(await failures(broken(merge))).toMatch('zero, equal and opposite');
  });
  test('takes the first input for the base', async () => {
    const merge: Merge =
      () =>
      ({ inputs }, out) =>
        out.set(inputs[0]!);
    expect(await failures(broken(merge))).toMatch('the base may stand anywhere');
    expect(await failures(broken(merge, { base: 'ignored' }))).toBe('');
  });
  test('looks for a base that it ignores', async () => {
    expect(await failures(broken(first, { base: 'ignored' }))).toBe('');
    const last: Merge =
      () =>
      ({ models }, out) =>
        out.set(models.at(-1)!);
    expect(await failures(broken(last, { base: 'ignored' }))).toMatch('one more input');
  });
  test('cannot do with as many inputs as it says', async () => {
    const merge: Merge =
      () =>
      ({ models }, out) =>
        out.set(models[3] ?? new Float32Array(out.length).fill(Number.NaN));
    expect(await failures(broken(merge))).toMatch('as many inputs');
    expect(await failures(broken(merge, { models: { min: 7 } }))).toMatch('as many inputs');
  });
  test('draws without saying so', async () => {
    const merge: Merge =
      (_group, _parameters, { random: stream }) =>
      (_chunk, out) =>
        stream(0)(out);
    expect(await failures(broken(merge, { chunks: 'tensor' }))).toMatch('on the seed');
  });
  test('takes any value, misses one, or refuses its own default', async () => {
    const parameters = { strength: shared(z.any().default(1)) };
    expect(await failures(broken(first, { parameters }))).toMatch('parameters are complete');
    const missing = { weight: perModel(z.number()) };
    expect(await failures(broken(first, { parameters: missing }))).toMatch('are complete');
    const own = { strength: shared(z.number().max(1).default(2)) };
    expect(await failures(broken(first, { parameters: own }))).toMatch('are complete');
  });
  test('has a name that no file could give', async () => {
    expect(await failures(broken(first, { name: 'My method' }))).toMatch('in a file');
  });
});
