import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '@attune/core';
import {
  layoutSafetensors,
  planWeightFiles,
  tensorToWrite,
  WeightFolder,
  writeWeights,
} from '@attune/core/io';
import { parseBytes } from '@attune/core/util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fixture, reference } from '../models/support.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-shards-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const tensor = (name: string, size: number) =>
  tensorToWrite(
    name,
    Array.from({ length: size }, (_, i) => i),
    [size],
  );
const U8 = Uint8Array.of(1, 2, 3);
const index = async () =>
  JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));

describe('weights in shards', () => {
  it('close a file when the next tensor would not fit; a larger one has its own', async () => {
    const sizes = { a: 6, b: 6, c: 2, huge: 40, d: 6, e: 2, f: 2 };
    const tensors = Object.entries(sizes).map(([name, size]) => tensor(name, size));
    await writeWeights(folder, tensors, { maxShardSize: 40 });
    expect((await index()).weight_map).toEqual({
      a: 'model-00001-of-00004.safetensors',
      b: 'model-00003-of-00004.safetensors',
      c: 'model-00003-of-00004.safetensors',
      huge: 'model-00002-of-00004.safetensors',
      d: 'model-00004-of-00004.safetensors',
      e: 'model-00004-of-00004.safetensors',
      f: 'model-00004-of-00004.safetensors',
    });
    expect((await index()).metadata.total_size).toBe(64 * 4);
  });

  it('lie where their layout says, before there are data', async () => {
    const tensors = [tensor('b', 6), { ...tensor('a', 3), dtype: 'U8' as const }, tensor('ä', 2)];
    const whole = tensors.map((t) => ({ ...t, ...(t.dtype === 'U8' && { data: U8 }) }));
    await writeWeights(folder, whole, { maxShardSize: 28 });
    const { files, index: planned } = planWeightFiles(tensors, { maxShardSize: 28 });
    expect(planned).toEqual(await index());
    for (const file of files) {
      const bytes = await readFile(join(folder, file.name));
      const { header, begins, numBytes } = layoutSafetensors(file.name, file.tensors);
      expect(bytes.byteLength).toBe(numBytes);
      expect(bytes.subarray(0, header.length)).toEqual(Buffer.from(header));
      for (const [name, begin] of begins) {
        const { data } = whole.find((t) => t.name === name)! as { data: Uint8Array };
        const stored = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
        expect(bytes.subarray(begin, begin + stored.length)).toEqual(stored);
      }
    }
  });

  it('replace those of an earlier save', async () => {
    const tensors = [tensor('a', 6), tensor('b', 6)];
    await writeWeights(folder, tensors, { maxShardSize: 24 });
    expect(await readdir(folder)).toHaveLength(3);
    await writeWeights(folder, tensors);
    expect(await readdir(folder)).toEqual(['model.safetensors']);
    await writeWeights(folder, tensors, { maxShardSize: 24 });
    expect(await readdir(folder)).toHaveLength(3);
  });

  it('of a model load again, byte for byte', async () => {
    await using attune = await reference();
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama-tied'), { attune });
    await model.savePretrained(folder, { maxShardSize: '40KB' });
    expect((await readdir(folder)).length).toBeGreaterThan(3);
    const again = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    await using before = await WeightFolder.open(fixture('tiny-llama-tied'));
    await using after = await WeightFolder.open(folder);
    expect([...after.names].sort()).toEqual([...before.names].sort());
    for (const name of before.names)
      expect((await after.get(name)).data).toEqual((await before.get(name)).data);
    expect(again.config.tieWordEmbeddings).toBe(true);
  });
});

describe('sizes', () => {
  it.each([
    ['5GB', 5e9],
    ['40 KB', 4e4],
    ['8GiB', 2 ** 33],
    ['1.5mb', 1.5e6],
    [1024, 1024],
    ['512', 512],
  ])('%s', (size, bytes) => expect(parseBytes(size, 'maxShardSize')).toBe(bytes));

  it.each(['', '5 apples', '-1GB', 0, Number.NaN, '1e3'])('refuses %s', (size) =>
    expect(() => parseBytes(size, 'maxShardSize')).toThrow(/SIZE_INVALID.*maxShardSize/),
  );
});
