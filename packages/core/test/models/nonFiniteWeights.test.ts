import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM, type CausalLM, createAttune, type DType } from '@attune/core';
import { tensorToWrite, writeSafetensors } from '@attune/core/io';
import { describe, expect, test } from 'vitest';
import { findNonFinite } from '../../src/io/nonFinite.js';
import { ListLogger } from '../trainer/support.js';
import { fixture } from './support.js';

const temporaryFolder = () => mkdtemp(join(tmpdir(), 'attune-test-'));

describe('finding a number that is not finite', () => {
  const bytesOf = (values: number[], dtype: DType) => {
    const { data } = tensorToWrite('x', values, [values.length], dtype);
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  const formats = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const;
  test.each(['float32', 'float16', 'bfloat16'] as const)('%s, at every place', (dtype) => {
    for (const size of [1, 2, 3, 7, 8, 4097, 8193]) {
      const clean = Array.from({ length: size }, (_, i) => (i % 2 ? -1 : 1) * (i % 60000));
      expect(findNonFinite(bytesOf(clean, dtype), formats[dtype])).toBe(-1);
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
        for (const at of new Set([0, 1, size >> 1, size - 2, size - 1]))
          if (at >= 0 && at < size)
            expect(
              findNonFinite(bytesOf(clean.with(at, value), dtype), formats[dtype]),
              `${value} at ${at} of ${size}`,
            ).toBe(at);
    }
  });

  test('the largest and the smallest numbers are finite, and bytes may lie anywhere', () => {
    const largest = { float32: 3.4028234663852886e38, float16: 65504, bfloat16: 3.38e38 };
    for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
      const edge = [largest[dtype], -largest[dtype], 1e-45, -0, 0];
      expect(findNonFinite(bytesOf(edge, dtype), formats[dtype])).toBe(-1);
      const whole = bytesOf([1, 2, Number.NaN, 4], dtype);
      const shifted = new Uint8Array(whole.length + 1);
      shifted.set(whole, 1);
      expect(findNonFinite(shifted.subarray(1), formats[dtype])).toBe(2);
    }
  });
});

async function open(logger = new ListLogger(), folder = fixture('tiny-llama')) {
  const attune = await createAttune({ backend: 'reference', logger });
  const model = await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
  return { attune, model, logger };
}

async function breakNorm(model: CausalLM): Promise<void> {
  const norm = new Map(model.root.namedParameters()).get('model.norm.weight')!;
  const values = (await norm.tensor.data()).slice() as Float32Array;
  values[5] = Number.NaN;
  norm.write(values);
}

test('a model with such a weight is not saved, and what was there stays', async () => {
  const { attune, model } = await open();
  const folder = await temporaryFolder();
  await model.savePretrained(folder);
  const before = await readFile(join(folder, 'model.safetensors'));
  const names = await readdir(folder);
  await breakNorm(model);
  await expect(model.savePretrained(folder)).rejects.toThrow(
    /WEIGHTS_NON_FINITE: .*model\.safetensors: tensor "model\.norm\.weight" \[64\] is not finite .* at element 5/,
  );
  expect(await readFile(join(folder, 'model.safetensors'))).toEqual(before);
  expect(await readdir(folder)).toEqual(names);
  await attune.dispose();
});

test('loading one warns and names the tensor', async () => {
  const { attune, model } = await open();
  const folder = await temporaryFolder();
  await model.savePretrained(folder);
  await attune.dispose();
  const bytes = await readFile(join(folder, 'model.safetensors'));
  // The last of the sorted tensors is model.norm.weight.
  bytes.writeUInt32LE(0x7fc00000, bytes.length - 4);
  await writeFile(join(folder, 'model.safetensors'), bytes);
  const broken = await open(new ListLogger(), folder);
  expect(broken.logger.lines).toEqual([
    expect.stringMatching(
      /warn: .*a tensor is not finite \(NaN or infinity\): "model\.norm\.weight"/,
    ),
  ]);
  await broken.attune.dispose();
});

test('tensors that may hold such numbers can be written when it is asked for', async () => {
  const path = join(await temporaryFolder(), 'x.safetensors');
  const tensors = [tensorToWrite('mask', [0, Number.NEGATIVE_INFINITY], [2])];
  await expect(writeSafetensors(path, tensors)).rejects.toThrow(/WEIGHTS_NON_FINITE.*"mask"/);
  await writeSafetensors(path, tensors, {}, { allowNonFinite: true });
});

test.each([
  ['greedy', {}],
  ['sampling', { doSample: true }],
  ['greedy with a repetition penalty', { repetitionPenalty: 1.2 }],
  ['beams', { numBeams: 3 }],
] as const)('generate on logits that are not finite is an error: %s', async (_, options) => {
  const { attune, model } = await open();
  const inputIds = [
    [1, 5, 9],
    [1, 7],
  ];
  const whole = await model.generate({ inputIds, maxNewTokens: 3, ...options });
  expect(whole.sequences).toHaveLength(2);
  await breakNorm(model);
  await expect(model.generate({ inputIds, maxNewTokens: 3, ...options })).rejects.toThrow(
    /GENERATE_NON_FINITE: generate: the logits of prompts\[0\] are not finite .* at new token 1/,
  );
  await attune.dispose();
});
