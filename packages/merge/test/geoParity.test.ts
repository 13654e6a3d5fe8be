import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBfloat16Bits, fromFloat16Bits } from '@attune/core/backend';
import { SafetensorsFile } from '@attune/core/io';
import { describe, expect, test } from 'vitest';
import { mergeTensors } from '../src/arithmetic/mergeTensors.js';
import { roundings } from '../src/arithmetic/rounding.js';
import { builtinMethods } from '../src/methods/index.js';

// What mergekit 0.1.5 makes of the same tensors (parity/rows_merge_geo.py). In float32 within 1e-6,
// in 16 bits within one unit in the last place.

type Dtype = 'float32' | 'bfloat16' | 'float16';

interface Case {
  readonly method: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly baseIndex: number | null;
  readonly outputs: Readonly<Partial<Record<Dtype, string>>>;
  readonly errors?: Readonly<Partial<Record<Dtype, string>>>;
}

const folder = join(import.meta.dirname, '../../../parity/fixtures/merge-geo');
const { cases } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as {
  cases: readonly Case[];
};
const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
await using file = await SafetensorsFile.open(join(folder, 'tensors.safetensors'));
for (const name of file.names) {
  const { shape, dtype, data } = await file.read(name);
  const read = { float16: fromFloat16Bits, bfloat16: fromBfloat16Bits }[dtype as string];
  const values = read ? Float32Array.from(data, read) : (data as Float32Array);
  tensors.set(name, { shape, data: values });
}

const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

function merged(example: Case, dtype: Dtype, chunkElements?: number): Float32Array {
  const { method, inputs, parameters, baseIndex } = example;
  const held = inputs.map((name) => tensors.get(name)!.data.map(roundings[dtype]));
  return mergeTensors(held, builtinMethods.find(({ name }) => name === method)!, {
    shape: tensors.get(inputs[0]!)!.shape,
    parameters: Object.fromEntries(Object.entries(parameters).map(([k, v]) => [camel(k), v])),
    dtype,
    ...(baseIndex !== null && { baseIndex }),
    ...(chunkElements && { chunkElements }),
  });
}

/** Distance of neighbouring numbers of a dtype at a value. */
function unitAt(value: number, dtype: 'bfloat16' | 'float16'): number {
  const [bits, smallest] = dtype === 'bfloat16' ? [7, -126] : [10, -14];
  return 2 ** (Math.max(smallest, Math.floor(Math.log2(Math.abs(value) || 1e-300))) - bits);
}

for (const method of new Set(cases.map((example) => example.method)))
  describe(method, () => {
    for (const example of cases.filter((one) => one.method === method))
      test(`${example.name}, as mergekit`, () => {
        for (const [key, name] of Object.entries(example.outputs)) {
          const dtype = key as Dtype;
          const expected = tensors.get(name)!.data;
          const found = merged(example, dtype);
          const bound = (value: number) => (dtype === 'float32' ? 1e-6 : unitAt(value, dtype));
          const wrong = Array.from(found).flatMap((value, i) =>
            Math.abs(value - expected[i]!) <= bound(expected[i]!) ? [] : [[i, value, expected[i]]],
          );
          expect(wrong.slice(0, 4), `${dtype}: ${wrong.length} of ${found.length}`).toEqual([]);
        }
      });
  });
