import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensorToWrite, writeWeights } from '@attune/core/io';
import { camelToSnake } from '@attune/core/util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { planMerge } from '../../src/mergeModels.js';

// What mergekit 0.1.5 plans, tensor by tensor (rows 104, 105, 110).

interface Model {
  readonly config: Readonly<Record<string, unknown>>;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

interface Case {
  readonly name: string;
  readonly yaml: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly {
    readonly name: string;
    readonly base: string | null;
    readonly parameters: Readonly<Record<string, unknown>>;
    readonly inputs: readonly {
      readonly model: string;
      /** Name in the model's files. */
      readonly stored: string;
      readonly parameters: Readonly<Record<string, unknown>>;
    }[];
  }[];
}

const { models, cases } = JSON.parse(
  readFileSync(
    join(import.meta.dirname, '../../../../parity/fixtures/row105-merge-plans.json'),
    'utf8',
  ),
) as { models: Readonly<Record<string, Model>>; cases: readonly Case[] };

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-slices-'));
  for (const [name, { config, shapes }] of Object.entries(models)) {
    const folder = join(scratch, name);
    await mkdir(folder);
    const tensors = Object.entries(shapes).map(([key, shape]) =>
      tensorToWrite(key, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape),
    );
    await writeWeights(folder, tensors);
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  }
});
afterAll(() => rm(scratch, { recursive: true }));

/** Models by their folders. */
const placed = (yaml: string): string =>
  yaml.replaceAll(/\b((?:base_)?model): (\w+)/g, (_, key, name) => `${key}: ${scratch}/${name}`);

test.each(cases)('$name', async ({ yaml, tensors, config }) => {
  const file = join(scratch, 'merge.yaml');
  await writeFile(file, placed(yaml));
  const plan = await planMerge(file);
  expect(plan.tasks.map(({ name }) => name).sort()).toEqual(tensors.map(({ name }) => name).sort());
  const tasks = new Map(plan.tasks.map((task) => [task.name, task]));
  for (const theirs of tensors) {
    const task = tasks.get(theirs.name)!;
    const modelOf = (path: string) => path.slice(scratch.length + 1);
    const { baseIndex, inputs } = task;
    expect(inputs.map(({ model }) => modelOf(model))).toEqual(theirs.inputs.map((i) => i.model));
    expect(baseIndex === null ? null : modelOf(inputs[baseIndex]!.model)).toBe(theirs.base);
    for (const [i, { model, stored }] of theirs.inputs.entries())
      expect(nameAt(inputs[i]!.source.tensor, model)).toBe(stored);
    const own = new Map<string, unknown[]>();
    for (const input of theirs.inputs)
      for (const [name, value] of Object.entries(input.parameters))
        own.set(name, [...(own.get(name) ?? []), value]);
    const ours = Object.entries(task.parameters).map(([name, value]) => [
      camelToSnake(name),
      value,
    ]);
    expect(Object.fromEntries(ours)).toEqual({ ...theirs.parameters, ...Object.fromEntries(own) });
  }
  const { dtype, ...sizes } = config;
  expect(plan.outConfig).toMatchObject(sizes);
  expect(plan.outConfig.dtype).toBe(dtype);
});

/** The name of what begins at a byte of a file. */
function nameAt({ begin }: { readonly begin: number }, model: string): string {
  const file = readFileSync(join(scratch, model, 'model.safetensors'));
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { readonly data_offsets: readonly [number, number] }
  >;
  const found = Object.entries(header).find(
    ([name, info]) => name !== '__metadata__' && info.data_offsets[0] === begin - 8 - length,
  );
  return found![0];
}
