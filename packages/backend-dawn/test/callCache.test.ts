import { defineOp, Engine, ops } from '@attune/core';
import type { Attrs, OpCall, Operand } from '@attune/core/backend';
import { describe, expect, test } from 'vitest';
import { CallCache } from '../src/callCache.js';
import { createDawnBackend, defineKernel, stage, u32 } from '../src/index.js';
import { timeBy } from './timeBy.js';

const buffers = [1, 2, 3].map((id) => ({ id, byteLength: 1024 }));

const operand = (buffer: number, change: Partial<Operand> = {}): Operand => ({
  buffer: buffers[buffer]!,
  byteOffset: 0,
  shape: [2, 3],
  dtype: 'float32',
  ...change,
});

const callOf = (attrs: Attrs = { scale: 2, flag: true }, change: Partial<OpCall> = {}): OpCall => ({
  op: 'x',
  inputs: [operand(0)],
  outputs: [operand(1)],
  attrs,
  ...change,
});

describe('the cache of calls', () => {
  test('finds an equal call, and no other', () => {
    const cache = new CallCache();
    cache.set(callOf(), [], []);
    expect(cache.find(callOf())).toBeDefined();
    for (const [name, call] of Object.entries({
      op: callOf(undefined, { op: 'y' }),
      number: callOf({ scale: 3, flag: true }),
      'negative zero': callOf({ scale: -0, flag: true }),
      flag: callOf({ scale: 2, flag: false }),
      'fewer attributes': callOf({ scale: 2 }),
      'more attributes': callOf({ scale: 2, flag: true, more: 1 }),
      buffer: callOf(undefined, { inputs: [operand(2)] }),
      offset: callOf(undefined, { inputs: [operand(0, { byteOffset: 256 })] }),
      shape: callOf(undefined, { inputs: [operand(0, { shape: [3, 2] })] }),
      dtype: callOf(undefined, { inputs: [operand(0, { dtype: 'int32' })] }),
      output: callOf(undefined, { outputs: [operand(2)] }),
      'an input more': callOf(undefined, { inputs: [operand(0), operand(1)], outputs: [] }),
    }))
      expect(cache.find(call), name).toBeUndefined();
  });

  test('a number that is another in each step leaves one entry', () => {
    const cache = new CallCache();
    for (let lr = 0; lr < 100; lr++) cache.set(callOf({ lr }), [], []);
    expect(cache.size).toBe(1);
    expect(cache.find(callOf({ lr: 99 }))).toBeDefined();
    expect(cache.find(callOf({ lr: 98 }))).toBeUndefined();
  });

  test('what the caller changes afterwards is another call', () => {
    const cache = new CallCache();
    const attrs = { lr: 1, list: [1, 2] };
    const shape = [2, 3];
    const call = callOf(attrs, { inputs: [operand(0, { shape })] });
    cache.set(call, [], []);
    expect(cache.find(call)).toBeDefined();
    attrs.lr = 2;
    expect(cache.find(call)).toBeUndefined();
    attrs.lr = 1;
    attrs.list[1] = 3;
    expect(cache.find(call)).toBeUndefined();
    attrs.list[1] = 2;
    shape[0] = 4;
    expect(cache.find(call)).toBeUndefined();
  });

  test('a full cache starts again', () => {
    const cache = new CallCache(10);
    for (let n = 1; n <= 25; n++)
      cache.set(callOf({}, { inputs: [operand(0, { shape: [n] })] }), [], []);
    expect(cache.size).toBe(5);
  });
});

describe('on the device', () => {
  test('equal calls with other numbers give other results, in the same memory', async () => {
    await using backend = await createDawnBackend({ tuning: false });
    const engine = new Engine(backend);
    const x = engine.tensor([1, 2, 3, 4]);
    const [parameter, first, second] = [engine.ones([4]), engine.zeros([4]), engine.zeros([4])];
    const clip = engine.tensor([1, 1, 1]);
    const attrs = { beta1: 0, beta2: 0, eps: 0, weightDecay: 0 };
    const bias = { biasCorrection1: 1, biasCorrection2: 1 };
    const seen: number[][] = [];
    let before = 1;
    for (const k of [1, 1, 2, 3, 3, 1]) {
      const scaled = engine.scope('step', () => x.mul(k).add(k));
      seen.push([...(await scaled.data())]);
      scaled.dispose();
      // With betas of 0 every element moves by lr.
      ops.adamw({ parameter, first, second }, x, clip, { ...attrs, ...bias, lr: k / 8 });
      const [now] = await parameter.data();
      expect(before - now!).toBeCloseTo(k / 8, 5);
      before = now!;
    }
    expect(seen).toEqual([1, 1, 2, 3, 3, 1].map((k) => [1, 2, 3, 4].map((v) => v * k + k)));
  });

  test.each([1, 3])(
    'a cache of keys that grows by a token a step: %i queries see what is before them',
    async (queries) => {
      await using backend = await createDawnBackend({ tuning: false });
      const engine = new Engine(backend);
      const [length, width] = [12, 4];
      // Equal scores: what comes out is the mean of the values so far, and values are places.
      const q = engine.zeros([1, queries, 1, width]);
      const k = engine.ones([1, length, 1, width]);
      const places = Float32Array.from({ length: length * width }, (_, i) => Math.floor(i / width));
      const v = engine.tensor(places, [1, length, 1, width]);
      for (const queryOffset of [0, 1, 2, 2, 8, 3]) {
        const out = engine.scope('step', () => ops.attention(q, k, v, { queryOffset }));
        const got = await out.data();
        out.dispose();
        for (let t = 0; t < queries; t++)
          expect(got[t * width], `${queryOffset}`).toBeCloseTo((queryOffset + t) / 2, 5);
      }
    },
  );

  test('each call of dropout draws anew', async () => {
    await using backend = await createDawnBackend({ tuning: false });
    const engine = new Engine(backend, 3);
    const x = engine.ones([256]);
    const drawn = new Set<string>();
    for (let i = 0; i < 5; i++) {
      const y = ops.dropout(x, 0.5);
      drawn.add((await y.data()).join());
      y.dispose();
    }
    expect(drawn.size).toBe(5);
  });

  test('memory that a kernel borrowed is not written again while it is another tensor', async () => {
    const negateOp = defineOp({
      name: 'test.negateTwice',
      infer: ([x]) => [x!],
      decompose: ([x]) => [x!.neg().neg()],
    });
    const plans: number[] = [];
    const kernel = defineKernel({
      op: negateOp.name,
      plan: ({ inputs: [x], outputs: [y] }, _facts, scratch) => {
        plans.push(1);
        const n = x!.shape[0]!;
        const between = scratch(n, 'float32');
        const negate = (x: Operand, out: Operand) =>
          stage({
            key: 'test.negate',
            reads: { x },
            writes: { out },
            params: { n: u32(n) },
            workgroup: 64,
            body: '  if (gid < p.n) { out[gid] = -x(gid); }',
            grid: [1, 1, 1],
          });
        return [negate(x!, between), negate(between, y!)];
      },
    });
    await using backend = await createDawnBackend({ tuning: false, kernels: [kernel] });
    const engine = new Engine(backend);
    const x = engine.tensor([1, 2, 3]);
    const run = async () => {
      const y = engine.run(negateOp, [x], {})[0]!;
      const values = [...(await y.data())];
      y.dispose();
      return values;
    };
    for (let i = 0; i < 4; i++) expect(await run()).toEqual([1, 2, 3]);
    const planned = plans.length;
    expect(planned).toBeLessThan(4);
    // What the kernel gets for y and for `between` next time, in the hands of others.
    const [first, second] = [engine.empty([3]), engine.tensor([7, 8, 9])];
    first.dispose();
    expect(await run()).toEqual([1, 2, 3]);
    expect([...(await second.data())]).toEqual([7, 8, 9]);
    expect(plans.length).toBe(planned + 1);
  });

  test('a variant that tuning chose is taken by calls that were seen before', async () => {
    const kernel = defineKernel({
      op: 'neg',
      variants: () => ({ key: 'neg', names: ['slow', 'fast'] }),
      plan: ({ inputs: [x], outputs }, _facts, _scratch, variant = 'slow') => [
        stage({
          key: `test.neg:${variant}`,
          reads: { x: x! },
          writes: { out: outputs[0]! },
          params: { n: u32(x!.shape[0]!) },
          workgroup: 64,
          // Not what the op means: the result tells which one ran.
          body: `  if (gid < p.n) { out[gid] = ${variant === 'fast' ? '2.0' : 'x(gid) * x(gid)'}; }`,
          grid: [1, 1, 1],
        }),
      ],
    });
    const negOp = defineOp({ name: 'neg', infer: ([x]) => [x!], decompose: ([x]) => [x!.mul(-1)] });
    await using backend = await createDawnBackend({ tuning: false, kernels: [kernel] });
    const engine = new Engine(backend);
    const x = engine.tensor([5, 5]);
    const run = async () => {
      const y = engine.run(negOp, [x], {})[0]!;
      const [value] = await y.data();
      y.dispose();
      return value;
    };
    for (let i = 0; i < 4; i++) expect(await run()).toBe(25);
    timeBy(backend, (kernel) => (kernel === 'test.neg:fast' ? 1 : 10));
    await backend.tune(
      async () => void engine.scope('work', () => engine.run(negOp, [x], {}) && 0),
    );
    expect(await run()).toBe(2);
  });
});
