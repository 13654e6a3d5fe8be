import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { widen } from '@attune/core/backend';
import { SafetensorsFile } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mergeTensors } from '../src/arithmetic/mergeTensors.js';
import { arrayRoundings } from '../src/arithmetic/rounding.js';
import { builtinMethods } from '../src/methods/index.js';

const folder = resolve(
  dirname(fileURLToPath(import.meta.url)),
  '../../../parity/fixtures/merge-task-vectors',
);

interface Case {
  readonly method: string;
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
  readonly shape: string;
  readonly inputs: readonly string[];
  readonly base: number;
  readonly parameters: Readonly<Record<string, unknown>>;
}

const cases = JSON.parse(readFileSync(resolve(folder, 'cases.json'), 'utf8'))
  .cases as readonly Case[];

let given: SafetensorsFile;
let expected: SafetensorsFile;
beforeAll(async () => {
  given = await SafetensorsFile.open(resolve(folder, 'inputs.safetensors'));
  expected = await SafetensorsFile.open(resolve(folder, 'expected.safetensors'));
});
afterAll(async () => {
  await given[Symbol.asyncDispose]();
  await expected[Symbol.asyncDispose]();
});

const read = async (file: SafetensorsFile, name: string) => {
  const { data, dtype, shape } = await file.read(name);
  if (dtype !== 'float16' && dtype !== 'bfloat16')
    return { data: Float32Array.from(data as Float32Array), shape };
  return { data: widen(data as Uint16Array, dtype), shape };
};

const toCamel = (name: string) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** The distance to the next number of a dtype. */
const ulp = (value: number, bits: number) =>
  2 ** (Math.floor(Math.log2(Math.max(Math.abs(value), 2 ** -14))) - bits);

const tolerance = {
  float32: () => 1e-6,
  bfloat16: (value: number) => ulp(value, 7),
  float16: (value: number) => ulp(value, 10),
};

describe.each([...new Set(cases.map(({ method }) => method))])('%s as in mergekit', (name) => {
  test.each(['float32', 'bfloat16', 'float16'] as const)('%s', async (dtype) => {
    const method = builtinMethods.find((candidate) => candidate.name === name)!;
    for (const [index, wanted] of cases.entries()) {
      if (wanted.method !== name || wanted.dtype !== dtype) continue;
      const tensors = await Promise.all(
        wanted.inputs.map((input) => read(given, `${wanted.shape}.${input}`)),
      );
      for (const { data } of tensors) arrayRoundings[dtype](data);
      const uniforms = await Promise.all(
        wanted.inputs.slice(1).map((_, k) => read(given, `${wanted.shape}.uniform${k}`)),
      );
      const ours = mergeTensors(
        tensors.map(({ data }) => data),
        method,
        {
          shape: tensors[0]!.shape,
          baseIndex: wanted.base,
          dtype,
          parameters: Object.fromEntries(
            Object.entries(wanted.parameters).map(([key, value]) => [toCamel(key), value]),
          ),
          random: (stream) => {
            let at = 0;
            return (into) => {
              into.set(uniforms[stream]!.data.subarray(at, at + into.length));
              at += into.length;
            };
          },
        },
      );
      const theirs = await read(expected, `case${index}`);
      const far = [...ours].flatMap((value, i) =>
        Math.abs(value - theirs.data[i]!) <= tolerance[dtype](theirs.data[i]!)
          ? []
          : [`${i}: ${value}, theirs ${theirs.data[i]}`],
      );
      expect(far, `case${index} ${JSON.stringify(wanted)}`).toEqual([]);
    }
  });
});
