import { join } from 'node:path';
import type { Attune } from '@attune/core';
import { decode, encode } from '@attune/core/backend';
import { SafetensorsFile, type TensorToWrite, writeSafetensors } from '@attune/core/io';
import { expect, test } from 'vitest';
import { roundings } from '../../src/arithmetic/rounding.js';
import type { StoredTensor, TensorSource, TensorTask } from '../../src/contract/tensorTask.js';
import { FloatFiles } from '../../src/execute/fileElements.js';
import { executeMerge } from '../../src/execute/index.js';
import { OpenFiles } from '../../src/execute/openFiles.js';
import { sourceElements } from '../../src/execute/sourceElements.js';
import { optionsWith, planWith, temporaryFolder } from './support.js';

/** A file with one tensor, in storage form. */
async function fileOf(
  dtype: StoredTensor['dtype'],
  shape: readonly number[],
  data: TensorToWrite['data'],
): Promise<StoredTensor> {
  const path = join(await temporaryFolder(), 'model.safetensors');
  await writeSafetensors(path, [{ name: 'w', dtype, shape, data }], {}, { allowNonFinite: true });
  await using file = await SafetensorsFile.open(path);
  return file.location('w');
}

/** Reads all of it, in pieces of some elements. */
function readAll(
  source: TensorSource,
  length: number,
  piece: number,
  delta: Float32Array | null = null,
) {
  const files = new OpenFiles('r');
  const reader = sourceElements(source, new FloatFiles(files), delta);
  const out = new Float32Array(length);
  for (let at = 0; at < length; at += piece)
    reader.read(at, out.subarray(at, Math.min(length, at + piece)));
  files.close();
  return out;
}

test('every float16 and bfloat16 is widened exactly, NaN and subnormals too', async () => {
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  for (const [format, dtype] of [
    ['F16', 'float16'],
    ['BF16', 'bfloat16'],
  ] as const) {
    const tensor = await fileOf(format, [256, 256], all);
    const wanted = Float32Array.from(decode(all.slice().buffer, dtype, all.length));
    for (const piece of [2 ** 16, 1000, 7777])
      expect(readAll({ kind: 'file', tensor }, 2 ** 16, piece)).toEqual(wanted);
  }
});

test('float64 is rounded to float32; other dtypes are refused', async () => {
  const data = Float64Array.of(0.1, 1 / 3, 2 ** 60 + 1);
  const wide = await fileOf('F64', [3], new Uint8Array(data.buffer));
  expect(readAll({ kind: 'file', tensor: wide }, 3, 2)).toEqual(Float32Array.from(data));
  const small = await fileOf('F8_E4M3', [3], Uint8Array.of(1, 2, 3));
  expect(() => readAll({ kind: 'file', tensor: small }, 3, 3)).toThrow('F8_E4M3 cannot be merged');
});

test('rows come in their order, made ones as the mean of theirs; wherever a piece is cut', async () => {
  const values = Float32Array.from({ length: 6 * 5 }, (_, i) => i);
  const tensor = await fileOf('F32', [6, 5], values);
  const source: TensorSource = {
    kind: 'rows',
    tensor,
    rows: Int32Array.of(4, 5, -1, 0, 1, 2, -2, 3, 0),
    fills: [
      {
        from: [
          { source: tensor, row: 0 },
          { source: tensor, row: 3 },
        ],
      },
      { from: [] },
    ],
  };
  const row = (i: number) => [...values.subarray(5 * i, 5 * i + 5)];
  const mean = row(0).map((value, i) => (value + row(3)[i]!) / 2);
  const wanted = [row(4), row(5), mean, row(0), row(1), row(2), [0, 0, 0, 0, 0], row(3), row(0)];
  for (const piece of [1, 3, 5, 7, 12, 45])
    expect([...readAll(source, 45, piece)]).toEqual(wanted.flat());
});

test('what an adapter adds comes on top, rounded where the base is of 16 bits', async () => {
  const base = Float32Array.from({ length: 12 }, (_, i) => i / 7);
  const tensor = await fileOf('BF16', [3, 4], encode(base, 'bfloat16'));
  const delta = Float32Array.from({ length: 12 }, (_, i) => 0.01 * i);
  const stored = Float32Array.from(base, roundings.bfloat16);
  for (const round of [null, 'bfloat16'] as const) {
    const sums = Float32Array.from(stored, (value, i) => value + delta[i]!);
    const wanted = round ? Float32Array.from(sums, roundings.bfloat16) : sums;
    const source: TensorSource = { kind: 'adapted', tensor, adapter: 'x', name: 'w', round };
    expect(readAll(source, 12, 5, delta)).toEqual(wanted);
    expect(() => readAll(source, 12, 5, delta.subarray(1))).toThrow(
      '11 numbers of "w", which has 12',
    );
  }
});

test('an adapter is read by the plugin when its tensor is merged, and closed', async () => {
  const tensor = await fileOf('F32', [2, 2], Float32Array.of(1, 2, 3, 4));
  let closed = 0;
  const deltas = {
    read: async (name: string) => ({
      name,
      dtype: 'float32',
      shape: [2, 2],
      data: Float32Array.of(1, 0, 0, 2),
    }),
    close: async () => void closed++,
  };
  const attune = {
    service: () => ({ openDeltas: async () => deltas }),
  } as unknown as Attune;
  const task: TensorTask = {
    name: 'w',
    shape: [2, 2],
    dtype: 'F32',
    method: 'linear',
    parameters: { weight: [1] },
    arithmetic: 'float32',
    inputs: [
      {
        model: 'm+a',
        name: 'w',
        source: { kind: 'adapted', tensor, adapter: 'a', name: 'w', round: null },
      },
    ],
    baseIndex: null,
  };
  const options = await optionsWith({ attune });
  await executeMerge(planWith([task], []), options);
  await using file = await SafetensorsFile.open(join(options.outputDir, 'model.safetensors'));
  expect((await file.read('w')).data).toEqual(Float32Array.of(2, 2, 3, 6));
  expect(closed).toBe(1);
  const without = await optionsWith();
  await expect(executeMerge(planWith([task], []), without)).rejects.toMatchObject({
    code: 'PEFT_MISSING',
  });
});
