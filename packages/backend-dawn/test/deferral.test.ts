import { setImmediate as turn } from 'node:timers/promises';
import { Engine } from '@attune/core';
import type { BackendStats } from '@attune/core/backend';
import { expect, test } from 'vitest';
import { Deferral } from '../src/deferral.js';
import { createDawnBackend, defineKernel, grid1d, stage, u32 } from '../src/index.js';

const plain = (promise: Promise<unknown>) => promise;

function later() {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

test('commands run in the order in which they were recorded, whatever is ready first', async () => {
  const [slow, fast] = [later(), later()];
  const ran: number[] = [];
  const deferral = new Deferral(plain, () => {});
  expect(deferral.isActive).toBe(false);
  deferral.add(() => ran.push(1), slow.promise);
  deferral.add(() => ran.push(2));
  deferral.add(() => ran.push(3), fast.promise);
  fast.resolve();
  await turn();
  expect(ran).toEqual([]);
  slow.resolve();
  await deferral.settle();
  expect(ran).toEqual([1, 2, 3]);
  expect(deferral.isActive).toBe(false);
});

test('what is cleared does not run; a command that throws is reported and drops those behind it', async () => {
  const ran: number[] = [];
  const errors: string[] = [];
  const deferral = new Deferral(plain, (error) => errors.push(error.message));
  const never = later();
  deferral.add(() => ran.push(1), never.promise);
  deferral.clear();
  never.resolve();
  await deferral.settle();
  deferral.add(() => {
    throw new Error('refused');
  });
  deferral.add(() => ran.push(2));
  await deferral.settle();
  deferral.add(() => ran.push(3));
  await deferral.settle();
  expect(errors).toEqual(['refused']);
  expect(ran).toEqual([3]);
});

test('uploads, reads and kernels keep their places while shaders compile', async () => {
  await using backend = await createDawnBackend({ tuning: false });
  const engine = new Engine(backend);
  const x = engine.tensor([1, 2, 3, 4]);
  const host = Float32Array.of(10, 20, 30, 40);
  const doubled = x.mul(2);
  backend.write(x.storage.buffer, 0, host);
  host.fill(0); // the caller's again
  const before = x.data();
  const squares = x.square();
  backend.write(x.storage.buffer, 0, Float32Array.of(5, 6, 7, 8));
  const [got, then, after] = [doubled.data(), squares.data(), x.add(1).data()];
  expect([...(await before)]).toEqual([10, 20, 30, 40]);
  expect([...(await got)]).toEqual([2, 4, 6, 8]);
  expect([...(await then)]).toEqual([100, 400, 900, 1600]);
  expect([...(await after)]).toEqual([6, 7, 8, 9]);
});

test('a shader that does not compile fails the next wait, and every later one', async () => {
  const broken = defineKernel({
    op: 'sin',
    plan: ({ inputs: [x], outputs }) => [
      stage({
        key: 'broken',
        reads: { x: x! },
        writes: { out: outputs[0]! },
        params: { n: u32(4) },
        workgroup: 64,
        body: '  this is not WGSL',
        grid: grid1d(4, 64),
      }),
    ],
  });
  const backend = await createDawnBackend({ tuning: false, kernels: [broken] });
  const engine = new Engine(backend);
  const wait = async () => engine.tensor([1, 2, 3, 4]).sin().add(1).data();
  await expect(wait()).rejects.toThrow(/GPU_ERROR/);
  await expect(backend.sync()).rejects.toThrow(/GPU_ERROR/);
  await backend[Symbol.asyncDispose]();
});

test('the shaders of a step are asked for before the first of them is there', async () => {
  await using backend = await createDawnBackend({ tuning: false });
  const engine = new Engine(backend);
  const stats: BackendStats = { ...backend.stats };
  engine.tensor([1, 2, 3, 4]).sin().cos().exp().sqrt().tanh();
  backend.flush();
  expect(backend.stats.pipelines - stats.pipelines).toBe(5);
  expect(backend.stats.submits).toBe(stats.submits);
  await backend.sync();
  expect(backend.stats.submits).toBeGreaterThan(stats.submits);
});
