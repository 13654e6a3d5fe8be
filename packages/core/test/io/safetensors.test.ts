import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  SafetensorsFile,
  type TensorToWrite,
  tensorToWrite,
  writeSafetensors,
} from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture } from '../models/support.js';

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-safetensors-'));
});
afterAll(() => rm(scratch, { recursive: true }));

/** A file made by hand: whatever header, whatever data. */
function craft(header: unknown, dataBytes: number, headerLength?: bigint): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const out = Buffer.alloc(8 + text.length + dataBytes);
  out.writeBigUInt64LE(headerLength ?? BigInt(text.length), 0);
  text.copy(out, 8);
  return out;
}

const f32 = (shape: number[], data_offsets: unknown[]) => ({ dtype: 'F32', shape, data_offsets });

describe('a file that lies is refused before anything is allocated', () => {
  const cases: [what: string, bytes: Buffer, code: string, says: RegExp][] = [
    ['nothing in it', Buffer.alloc(0), 'TRUNCATED', /0 bytes/],
    ['seven bytes', Buffer.alloc(7), 'TRUNCATED', /7 bytes/],
    ['a header of 2^60 bytes', craft({}, 0, 2n ** 60n), 'TRUNCATED', /1152921504606846976 bytes/],
    ['a header longer than the file', craft({}, 0, 3n), 'TRUNCATED', /3 bytes, but only 2/],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs'), 'TRUNCATED', /git lfs pull/],
    ['no JSON', craft('{"a":', 0), 'HEADER', /not JSON/],
    [
      'no UTF-8',
      Buffer.concat([craft('', 0, 2n), Buffer.from([0x7b, 0xfe])]),
      'HEADER',
      /UTF-8.*byte 1/,
    ],
    ['a list for a header', craft([], 0), 'HEADER', /begin with "\{"/],
    ['metadata of numbers', craft({ __metadata__: { a: 1 } }, 0), 'HEADER', /__metadata__/],
    ['a tensor without shape', craft({ a: { dtype: 'F32' } }, 0), 'HEADER', /"a".*shape/],
    ['a negative size', craft({ a: f32([-1], [0, 4]) }, 4), 'HEADER', /"a".*-1/],
    ['half an element', craft({ a: f32([0.5], [0, 2]) }, 2), 'HEADER', /0\.5/],
    ['three offsets', craft({ a: f32([1], [0, 4, 8]) }, 4), 'HEADER', /\[0,4,8\]/],
    ['an unknown dtype', craft({ a: { ...f32([1], [0, 4]), dtype: 'Q4' } }, 4), 'DTYPE', /"Q4"/],
    ['offsets backwards', craft({ a: f32([1], [4, 0]) }, 4), 'OFFSETS', /\[4, 0\]/],
    ['a negative offset', craft({ a: f32([1], [-4, 0]) }, 4), 'OFFSETS', /\[-4, 0\]/],
    ['too few bytes for its shape', craft({ a: f32([2], [0, 4]) }, 4), 'SIZE', /8 bytes.*hold 4/],
    [
      'a shape beyond counting',
      craft({ a: f32([2 ** 40, 2 ** 40], [0, 4]) }, 4),
      'SIZE',
      /1099511627776/,
    ],
    [
      'overlapping tensors',
      craft({ a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, 12),
      'OFFSETS',
      /"b".*overlaps "a"/,
    ],
    [
      'a gap',
      craft({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, 12),
      'OFFSETS',
      /gap of 4 bytes after "a"/,
    ],
    ['a gap at the start', craft({ a: f32([1], [4, 8]) }, 8), 'OFFSETS', /gap.*after the header/],
    ['bytes that belong to nobody', craft({ a: f32([1], [0, 4]) }, 9), 'OFFSETS', /5 bytes follow/],
    ['data cut off', craft({ a: f32([4], [0, 16]) }, 10), 'TRUNCATED', /byte 16.*only 10/],
  ];

  it.each(cases)('%s', async (_, bytes, code, says) => {
    const path = join(scratch, 'bad.safetensors');
    await writeFile(path, bytes);
    await expect(SafetensorsFile.open(path)).rejects.toMatchObject({
      code: `SAFETENSORS_${code}`,
      message: expect.stringMatching(says),
      remedy: expect.any(String),
    });
    await expect(SafetensorsFile.open(path)).rejects.toThrow(path);
  });

  it('a missing file and a folder', async () => {
    const missing = { code: 'SAFETENSORS_MISSING' };
    await expect(SafetensorsFile.open(join(scratch, 'none'))).rejects.toMatchObject(missing);
    await expect(SafetensorsFile.open(scratch)).rejects.toMatchObject(missing);
  });
});

describe('writing and reading', () => {
  const tensors: TensorToWrite[] = [
    tensorToWrite('half', [1, -2.5, 65504], [3], 'float16'),
    tensorToWrite('b.weight', [1, 2, 3, 4, 5, 6], [2, 3]),
    tensorToWrite('brain', [1, -0.5], [2], 'bfloat16'),
    tensorToWrite('ids', [-1, 7], [2], 'int32'),
    tensorToWrite('a.weight', [Math.PI], []),
    tensorToWrite('empty', [], [0, 4]),
  ];

  it('gives back what was written, in a file of an aligned, deterministic layout', async () => {
    const path = join(scratch, 'round.safetensors');
    await writeSafetensors(path, tensors);
    await using file = await SafetensorsFile.open(path);
    expect(file.metadata).toEqual({ format: 'pt' });
    expect(file.names).toEqual(['a.weight', 'b.weight', 'empty', 'ids', 'brain', 'half']);
    for (const { name, shape, dtype, data } of tensors)
      expect(await file.read(name)).toEqual({ name, shape, dtype, data });

    const bytes = await readFile(path);
    expect(Number(bytes.readBigUInt64LE(0)) % 8).toBe(0);
    await writeSafetensors(path, [...tensors].reverse());
    expect(await readFile(path)).toEqual(bytes);
  });

  it.each(['tiny-llama', 'tiny-qwen2'])(
    'writes %s as the bytes that Python wrote',
    async (name) => {
      const theirs = fixture(`${name}/model.safetensors`);
      await using file = await SafetensorsFile.open(theirs);
      const path = join(scratch, 'copy.safetensors');
      const entries = file.names.map((n) => ({
        ...file.info(n),
        data: () => file.readBytes(n),
      }));
      await writeSafetensors(path, entries, file.metadata);
      expect((await readFile(path)).equals(await readFile(theirs))).toBe(true);
    },
  );

  it('takes tensors from an async generator and holds one at a time', async () => {
    const path = join(scratch, 'stream.safetensors');
    let open = 0;
    async function* many(): AsyncGenerator<TensorToWrite> {
      for (let i = 0; i < 4; i++)
        yield {
          name: `t${i}`,
          dtype: 'float32',
          shape: [2],
          data: async () => {
            expect(++open).toBe(1);
            await new Promise((done) => setTimeout(done, 1));
            open--;
            return Float32Array.of(i, i);
          },
        };
    }
    await writeSafetensors(path, many(), {});
    await using file = await SafetensorsFile.open(path);
    expect(file.metadata).toEqual({});
    expect((await file.read('t3')).data).toEqual(Float32Array.of(3, 3));
  });

  it('leaves the old file, and no other, when writing fails', async () => {
    const folder = await mkdtemp(join(scratch, 'atomic-'));
    const path = join(folder, 'model.safetensors');
    await writeSafetensors(path, [tensorToWrite('x', [1], [1])]);
    const before = await readFile(path);
    const broken: TensorToWrite = {
      name: 'x',
      dtype: 'float32',
      shape: [1],
      data: () => Promise.reject(new Error('device lost')),
    };
    await expect(writeSafetensors(path, [broken])).rejects.toThrow('device lost');
    expect(await readFile(path)).toEqual(before);
    expect(await readdir(folder)).toEqual(['model.safetensors']);
  });

  it('refuses data that do not fill their shape, and names that come twice', async () => {
    const path = join(scratch, 'wrong.safetensors');
    const short: TensorToWrite = {
      name: 'x',
      dtype: 'bfloat16',
      shape: [2],
      data: new Uint16Array(1),
    };
    await expect(writeSafetensors(path, [short])).rejects.toThrow(
      /SAFETENSORS_WRITE.*"x" BF16 \[2\] needs 4 bytes.*have 2/,
    );
    const one = tensorToWrite('x', [1], [1]);
    await expect(writeSafetensors(path, [one, one])).rejects.toThrow(/two tensors are named "x"/);
  });

  it('reads wide and narrow integers as int32, float64 as float32', async () => {
    const path = join(scratch, 'ints.safetensors');
    await writeSafetensors(path, [
      { name: 'f64', dtype: 'F64', shape: [1], data: bytes(Float64Array.of(0.1)) },
      { name: 'i64', dtype: 'I64', shape: [2], data: bytes(BigInt64Array.of(-5n, 9n)) },
      { name: 'big', dtype: 'I64', shape: [1], data: bytes(BigInt64Array.of(2n ** 40n)) },
      { name: 'u8', dtype: 'U8', shape: [3], data: Uint8Array.of(0, 128, 255) },
      { name: 'fp8', dtype: 'F8_E4M3', shape: [1], data: Uint8Array.of(1) },
    ]);
    await using file = await SafetensorsFile.open(path);
    expect((await file.read('f64')).data).toEqual(Float32Array.of(0.1));
    expect((await file.read('i64')).data).toEqual(Int32Array.of(-5, 9));
    expect((await file.read('u8')).data).toEqual(Int32Array.of(0, 128, 255));
    await expect(file.read('big')).rejects.toThrow(/SAFETENSORS_VALUE.*1099511627776/);
    await expect(file.read('fp8')).rejects.toMatchObject({ code: 'SAFETENSORS_DTYPE' });
    await expect(file.read('f46')).rejects.toThrow(/SAFETENSORS_TENSOR_UNKNOWN.*\n.*"f64"/);
  });
});

const bytes = (values: ArrayBufferView): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
