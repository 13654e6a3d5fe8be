import { AttuneError, Engine, ops, type Tensor } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { globals } from 'webgpu';
import { BufferPool } from '../src/bufferPool.js';
import { chooseAdapter, createDawnBackend, DawnBackend, type Kernel } from '../src/index.js';

/**
 * Sizes, dtypes and numbers at which a GPU does something else than a reader of the code expects.
 */
let backend: DawnBackend;
let engine: Engine;
beforeAll(async () => {
  backend = await createDawnBackend();
  engine = new Engine(backend);
});
afterAll(() => backend[Symbol.asyncDispose]());

const values = async (t: Tensor) => [...(await t.data())];

describe('grids beyond 65535 workgroups in one dimension', () => {
  test('a product of 65537 small matrices', async () => {
    const count = 65537;
    const scales = Float32Array.from({ length: count }, (_, i) => i % 7);
    const a = engine.tensor(scales, [count, 1, 1]).expand(count, 1, 4);
    const got = await a.matmul(engine.full([count, 4, 4], 2)).data();
    expect(got.findIndex((v, i) => v !== 8 * scales[i >> 2]!)).toBe(-1);
  });

  test('attention: the workgroups that a folded grid has too many write nothing', async () => {
    const count = 65537; // odd: two rows of workgroups hold one more
    const x = Float32Array.from({ length: count * 8 }, (_, i) => i % 1000);
    const keys = engine.ones([count, 1, 1, 8]);
    const t = engine.tensor(x, keys.shape);
    t.requiresGrad = true;
    const out = ops.attention(keys, keys, t);
    engine.backward(out.sum());
    const got = await out.data(); // one key each: attention is the identity
    expect(got.findIndex((v, i) => v !== x[i])).toBe(-1);
    const grad = await t.grad!.data();
    expect(grad.findIndex((v) => v !== 1)).toBe(-1);
    t.grad!.dispose();
  });
});

describe('numbers', () => {
  test('NaN stays NaN: a broken step must not look sound', async () => {
    const x = engine.tensor([Number.NaN, -1, 1]);
    const other = engine.tensor([1, Number.NaN, 2]);
    expect(await values(x.relu())).toEqual([Number.NaN, 0, 1]);
    expect((await values(x.tanh()))[0]).toBeNaN();
    expect(await values(x.maximum(other))).toEqual([Number.NaN, Number.NaN, 2]);
    expect(await values(x.minimum(other))).toEqual([Number.NaN, Number.NaN, 1]);
    const four = engine.tensor([Number.NaN, -1, 1, 2]); // the vec4 kernels
    expect(await values(four.relu())).toEqual([Number.NaN, 0, 1, 2]);
    expect(await values(four.maximum(engine.ones([4])))).toEqual([Number.NaN, 1, 1, 2]);
  });

  test('infinities through tanh and maximum', async () => {
    const x = engine.tensor([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 90]);
    expect(await values(x.tanh())).toEqual([1, -1, 1]);
    const y = engine.tensor([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 1]);
    expect(await values(x.maximum(y))).toEqual([
      Number.POSITIVE_INFINITY,
      Number.POSITIVE_INFINITY,
      90,
    ]);
  });

  test('the largest of nothing but -infinity is -infinity, in rows, columns and long rows', async () => {
    const low = Number.NEGATIVE_INFINITY;
    expect(await values(engine.full([2, 3], low).max(1))).toEqual([low, low]);
    expect(await values(engine.full([2, 3], low).max(0))).toEqual([low, low, low]);
    expect(await values(engine.full([40_000], low).max(0))).toEqual([low]);
    expect(await values(engine.tensor([-3, -2, -7], [1, 3]).max(1))).toEqual([-2]);
  });
});

describe('dtypes', () => {
  test('integers take part in arithmetic', async () => {
    const ids = engine.tensor([1, -2, 3], [3], 'int32');
    expect(await values(ids.mul(2).add(1))).toEqual([3, -3, 7]);
    expect(await values(ids.abs())).toEqual([1, 2, 3]);
    expect(await values(ids.add(ids))).toEqual([2, -4, 6]);
  });

  test('an integer above 2^24 fills exactly', async () => {
    expect(await values(engine.full([2], 16_777_217, 'int32'))).toEqual([16_777_217, 16_777_217]);
    expect(await values(engine.full([1], -100, 'int32'))).toEqual([-100]);
  });

  test('what a kernel would read as other bits is refused before it runs', () => {
    const half = engine.tensor([1, 2, 3, 4], [1, 1, 1, 4], 'float16');
    const full = engine.ones([1, 1, 1, 4]);
    expect(() => ops.attention(half, half, half)).toThrow(/attention: q float16/);
    const table = engine.ones([1, 2]);
    const at = engine.tensor([0], [1, 1], 'int32');
    expect(() => ops.rope(half, { cos: table, sin: table }, at)).toThrow(/rope: float16/);
    expect(() => ops.concat([full, half], 3)).toThrow(/concat: float16/);
    expect(() => ops.accumulate(half, full)).toThrow(/SHAPE_MISMATCH: accumulate/);
  });
});

describe('what WebGPU forbids is refused before it voids a submit', () => {
  test('writing a tensor that the same op reads', async () => {
    const x = engine.tensor([1, 2, 3]);
    expect(() => ops.accumulate(x, x)).toThrow(/UPDATE_ALIASED: accumulate/);
    expect(() => ops.assign(x, x.reshape(3, 1))).toThrow(/UPDATE_ALIASED/);
    expect(await values(x)).toEqual([1, 2, 3]);
  });

  test('a tensor of another Attune', async () => {
    await using other = await createDawnBackend();
    const foreign = new Engine(other).tensor([1]);
    expect(() => engine.tensor([1]).add(foreign)).toThrow(/ENGINE_MIXED: add/);
  });
});

describe('memory', () => {
  test('reads of slowly growing length share their buffers', async () => {
    const before = backend.stats.buffersCreated;
    for (let n = 20_000; n < 20_100; n++) {
      const x = engine.empty([n]);
      await x.data();
      x.dispose();
    }
    expect(backend.stats.buffersCreated - before).toBeLessThan(8);
  });

  test('a kernel that throws gives its scratch back', async () => {
    const broken: Kernel = {
      op: 'exp',
      plan: (_call, _facts, scratch) => {
        scratch(1024, 'float32');
        throw new Error('no plan');
      },
    };
    await using own = new DawnBackend(
      await (await chooseAdapter(undefined)).adapter.requestDevice(),
      await chooseAdapter(undefined),
      [broken],
    );
    const x = new Engine(own).tensor([1]);
    const before = own.stats.liveBytes;
    expect(() => x.exp()).toThrow('no plan');
    expect(own.stats.liveBytes - before).toBeLessThan(1024);
  });

  test('the largest buffer that the device allows is given, one byte more is refused', () => {
    const asked: number[] = [];
    const device = { createBuffer: ({ size }: { size: number }) => asked.push(size) };
    const stats = { ...backend.stats };
    const idle = { asked: 0, submitted: 0, flush() {} };
    const pool = new BufferPool(device as unknown as GPUDevice, 0, stats, 2 ** 31 - 16, idle);
    pool.take(2 ** 31 - 16);
    expect(asked).toEqual([2 ** 31 - 16]);
    expect(() => pool.take(2 ** 31 - 15)).toThrow(/TENSOR_TOO_LARGE/);
  });

  test('a device without memory is named so, with what to do', async () => {
    await using own = await createDawnBackend();
    const { GPUOutOfMemoryError } = globals as { GPUOutOfMemoryError: new (m: string) => GPUError };
    const event = Object.assign(new Event('uncapturederror'), {
      error: new GPUOutOfMemoryError('no 8 GB'),
    });
    own.device.dispatchEvent(event);
    const error = await own.sync().catch((e: unknown) => e);
    expect(AttuneError.isInstance(error) && error.code).toBe('OUT_OF_MEMORY');
    expect(String(error)).toContain('perDeviceTrainBatchSize');
  });
});

test('an adapter that does not exist is refused, from the environment too', async () => {
  await expect(chooseAdapter('nvidia' as 'gpu')).rejects.toThrow(
    /ADAPTER_KIND: adapter is "nvidia"/,
  );
  const before = process.env.ATTUNE_VULKAN;
  process.env.ATTUNE_VULKAN = 'lavapip';
  try {
    await expect(chooseAdapter(undefined)).rejects.toThrow(
      /ADAPTER_KIND: ATTUNE_VULKAN is "lavapip"/,
    );
  } finally {
    if (before === undefined) delete process.env.ATTUNE_VULKAN;
    else process.env.ATTUNE_VULKAN = before;
  }
});
