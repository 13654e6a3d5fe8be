import { Engine } from '@attune/core';
import { describe, expect, test } from 'vitest';
import {
  createDawnBackend,
  type DawnBackend,
  type DawnOptions,
  defineKernel,
  grid1d,
  stage,
} from '../src/index.js';

const open = (options: DawnOptions = {}) => createDawnBackend({ tuning: false, ...options });

/** What Dawn says of a buffer that may not be: mapped, and bound as storage. */
async function said({ device }: DawnBackend): Promise<string | undefined> {
  device.pushErrorScope('validation');
  device.createBuffer({ size: 16, usage: 0x01 | 0x80 }).destroy();
  return (await device.popErrorScope())?.message;
}

/** A kernel of someone else's, with a shader of this body. */
const kernel = (body: string) =>
  defineKernel({
    op: 'sin',
    plan: ({ inputs: [x], outputs: [out] }) => [
      stage({
        key: 'acme.sin',
        reads: { x: x! },
        writes: { out: out! },
        workgroup: 1,
        body,
        grid: grid1d(4, 1),
      }),
    ],
  });

describe("the device's guards", () => {
  const kernels = [kernel('  out[gid] = x(gid);')];

  test.each<[string, DawnOptions, { guarded: boolean; checked: boolean }]>([
    ['on, without the search', {}, { guarded: true, checked: false }],
    ['on beside kernels of others', { kernels }, { guarded: true, checked: false }],
    ['on with the search on request', { checked: true }, { guarded: true, checked: true }],
    ['off on request', { kernels, checked: false }, { guarded: false, checked: false }],
  ])('are %s', async (_, options, expected) => {
    await using backend = await open(options);
    expect(backend.choice).toMatchObject(expected);
    expect(await said(backend)).toEqual(
      expected.guarded ? expect.stringMatching(/usages \(BufferUsage::/i) : undefined,
    );
  });
});

describe('without guards', () => {
  test('a shader that does not compile is named, and the process goes on', async () => {
    const backend = await open({ kernels: [kernel('  this is not WGSL')], checked: false });
    const sine = new Engine(backend).tensor([1, 2, 3, 4]).sin();
    await expect(sine.data()).rejects.toThrow(/GPU_ERROR[\s\S]*acme\.sin/);
    await backend[Symbol.asyncDispose]();
  });

  test('a device that has no memory left says so, and goes on', async () => {
    await using backend = await open({ checked: false });
    const x = new Engine(backend).tensor([1, 2, 3]);
    backend.device.createBuffer({ size: 2 ** 40, usage: 0x80 });
    await expect(backend.sync()).rejects.toThrow(/OUT_OF_MEMORY/);
    await backend.recover();
    expect([...(await x.mul(2).data())]).toEqual([2, 4, 6]);
  });

  test('a lost device is named', async () => {
    await using backend = await open({ checked: false });
    const engine = new Engine(backend);
    const x = engine.tensor([1, 2, 3]);
    await x.mul(2).data();
    backend.device.destroy();
    const read = x.mul(3).data();
    await expect(read).rejects.toThrow(/DEVICE_LOST/);
    expect(() => x.mul(4)).toThrow(/DEVICE_LOST/);
  });
});
