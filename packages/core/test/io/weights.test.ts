import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensorToWrite, WeightFolder, writeSafetensors } from '@attune/core/io';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fixture } from '../models/support.js';

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-weights-'));
});
afterAll(() => rm(scratch, { recursive: true }));

const index = (weightMap: unknown) => JSON.stringify({ metadata: {}, weight_map: weightMap });
const shards = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' };

/** A folder of two shards with one tensor each, and an index that says so unless told otherwise. */
async function sharded(weightMap: unknown = shards): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'sharded-'));
  await writeSafetensors(join(folder, shards.a), [tensorToWrite('a', [1, 2], [2])]);
  await writeSafetensors(join(folder, shards.b), [tensorToWrite('b', [3], [1])]);
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    typeof weightMap === 'string' ? weightMap : index(weightMap),
  );
  return folder;
}

it('reads a single file and shards alike', async () => {
  await using single = await WeightFolder.open(fixture('tiny-llama'));
  expect(single.has('lm_head.weight')).toBe(true);
  await using weights = await WeightFolder.open(await sharded());
  expect(weights.names).toEqual(['a', 'b']);
  expect((await weights.get('a', [2])).data).toEqual(Float32Array.of(1, 2));
  expect((await weights.get('b')).data).toEqual(Float32Array.of(3));
});

it('names the shard that is missing, and what it holds', async () => {
  const folder = await sharded();
  await rm(join(folder, shards.b));
  await expect(WeightFolder.open(folder)).rejects.toThrow(
    /WEIGHTS_SHARD_MISSING.*model-00002-of-00002\.safetensors.*1 tensors \("b"/,
  );
});

it.each([
  ['no JSON', '{', /not JSON/],
  ['no weight_map', '{}', /no weight_map/],
  ['a path out of the folder', index({ a: '../x.safetensors' }), /"\.\.\/x\.safetensors"/],
  ['a tensor that its shard does not hold', index({ ...shards, c: shards.a }), /"c" is in/],
])('refuses an index with %s', async (_, text, says) => {
  await expect(WeightFolder.open(await sharded(text))).rejects.toMatchObject({
    code: 'WEIGHTS_INDEX',
    message: expect.stringMatching(says),
  });
});

it('compares shapes before it reads, and says which keys of config.json decide them', async () => {
  await using weights = await WeightFolder.open(await sharded());
  await expect(weights.get('a', [3], ['hidden_size'])).rejects.toThrow(
    /WEIGHTS_SHAPE.*"a" is \[2\].*asks for \[3\]\.\n.*hidden_size/,
  );
  await expect(weights.get('c')).rejects.toMatchObject({ code: 'WEIGHTS_TENSOR_UNKNOWN' });
});

it('explains a folder without safetensors', async () => {
  const folder = join(scratch, 'pickled');
  await mkdir(folder);
  await expect(WeightFolder.open(folder)).rejects.toMatchObject({ code: 'WEIGHTS_MISSING' });
  await copyFile(fixture('tiny-llama/config.json'), join(folder, 'pytorch_model.bin'));
  await expect(WeightFolder.open(folder)).rejects.toThrow(/pickle/);
});
