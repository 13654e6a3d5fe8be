import { defineOp, Engine, numel } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { boundsChecked } from '../src/boundsCheck.js';
import { createDawnBackend, defineKernel, grid1d, type Kernel, stage, u32 } from '../src/index.js';

describe('the indices of a module', () => {
  const module = `@group(0) @binding(0) var<storage, read> aData: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
var<workgroup> about: array<f32, 4>;
fn a(i: u32) -> vec4f { return aData[i]; }
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3u) { out[u32(aData[2 * (i[0])].x)] = about[3] + out0[1]; atomicAdd(&out [k], 1); }`;

  test('all are checked, also one within another and in workgroup memory; others are left alone', () => {
    const checked = boundsChecked(module, 2, 5);
    expect(checked).toContain('return aData[checked_aData(u32(i))];');
    expect(checked).toContain(
      'out[checked_out(u32(u32(aData[checked_aData(u32(2 * (i[0])))].x)))] = about[checked_about(u32(3))] + out0[1];',
    );
    expect(checked).toContain('atomicAdd(&out [checked_out(u32(k))], 1);');
    expect(checked).toContain('let outside = i >= 4u;');
    expect(checked).toContain('fn checked_main(wid: vec3u) {');
    expect(checked).toContain('fn main(@builtin(workgroup_id) wid: vec3u) {\n  checked_main(wid);');
    expect(checked).toContain('@binding(2) var<storage, read_write> checked_notes');
  });
});

const shiftOp = defineOp({
  name: 'test.shift',
  infer: ([x]) => [x!],
  decompose: ([x]) => [x!.neg().neg()],
});
/** Reads and writes element gid + a number; lanes without work do not return. */
const shift = (read: number, write: number): Kernel =>
  defineKernel({
    op: shiftOp.name,
    plan: ({ inputs: [x], outputs: [out] }) => [
      stage({
        key: `test.shift:${read}:${write}`,
        reads: { x: x! },
        writes: { out: out! },
        params: { n: u32(numel(x!.shape)) },
        workgroup: 64,
        body: `  if (gid < p.n) { out[gid + ${write}u] = x(gid + ${read}u); }`,
        grid: grid1d(numel(x!.shape), 64),
      }),
    ],
  });

describe("kernels of a plugin's", () => {
  test.each([
    ['reads', shift(4, 0), 'xData[64]'],
    ['writes', shift(0, 1000), 'out[1'],
  ])('one that %s beyond its buffer is named', async (_, kernel, index) => {
    await using backend = await createDawnBackend({
      tuning: false,
      kernels: [kernel],
      checked: true,
    });
    expect(backend.choice.checked).toBe(true);
    const engine = new Engine(backend);
    const out = engine.run(shiftOp, [engine.ones([64])], {})[0]!;
    const failure = await out.data().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'KERNEL_OUT_OF_BOUNDS' });
    expect(String(failure)).toContain('test.shift');
    expect(String(failure)).toContain(index);
  });

  test('a wait finds it, too; one that stays inside goes on', async () => {
    await using backend = await createDawnBackend({
      tuning: false,
      kernels: [shift(8, 0)],
      checked: true,
    });
    const engine = new Engine(backend);
    engine.run(shiftOp, [engine.ones([64])], {});
    await expect(backend.sync()).rejects.toThrow('KERNEL_OUT_OF_BOUNDS');
    await using sound = await createDawnBackend({
      tuning: false,
      kernels: [shift(0, 0)],
      checked: true,
    });
    const other = new Engine(sound);
    const [y] = other.run(shiftOp, [other.full([70], 3)], {});
    expect([...(await y!.data())]).toEqual(Array(70).fill(3));
  });

  test('are checked on request alone', async () => {
    await using backend = await createDawnBackend({ tuning: false, kernels: [shift(0, 0)] });
    expect(backend.choice.checked).toBe(false);
  });
});
