import { readdirSync, readFileSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Attune, AutoModelForCausalLM, type CausalLM, ops } from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  argumentsOf,
  expectUpdates,
  type Update,
  updatesOf,
  VARIANT_UPDATES,
} from '../../../core/test/trainer/recordedRun.js';
import {
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
  untyped,
} from '../support.js';

interface Run {
  readonly base: string;
  /** Changes to its config.json: GPT-2's own dropout is off. */
  readonly baseChanges?: Readonly<Record<string, unknown>>;
  /** false: PEFT's merged model is another function. Absent: methods that were not merged. */
  readonly canBeMerged?: boolean;
  readonly config: Readonly<Record<string, unknown>>;
  /** Names and shapes in the file, where PEFT wrote one. */
  readonly saved?: Readonly<Record<string, readonly number[]>>;
  readonly trainable: Readonly<Record<string, readonly number[]>>;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly trace: readonly Update[];
  readonly rows: readonly { readonly input_ids: number[]; readonly labels: number[] }[];
}

const at = (name: string, file: string) => join(fixtures, 'methods', name, file);

async function base(attune: Attune, run: Run): Promise<CausalLM> {
  if (Object.keys(run.baseChanges ?? {}).length === 0) return load(attune, run.base, 'float32');
  const changed = await folder();
  const file = (name: string) => join(fixtures, run.base, name);
  const config = JSON.parse(readFileSync(file('config.json'), 'utf8')) as object;
  await writeFile(join(changed, 'config.json'), JSON.stringify({ ...config, ...run.baseChanges }));
  await symlink(file('model.safetensors'), join(changed, 'model.safetensors'));
  return AutoModelForCausalLM.fromPretrained(changed, { attune, dtype: 'float32' });
}

/** The adapter of a fixture; methods that start as the base have no file. */
async function adapted(attune: Attune, name: string, run: Run): Promise<PeftModel> {
  const plain = await base(attune, run);
  return readdirSync(at(name, '')).includes('adapter_config.json')
    ? PeftModel.fromPretrained(plain, at(name, ''), { isTrainable: true })
    : getPeftModel(plain, untyped(run.config));
}

/** Rows 41, 47-51: PEFT's numbers, or those of a few lines of torch where PEFT lacks the method. */
describe.each(readdirSync(join(fixtures, 'methods')))('%s', (name) => {
  const run = JSON.parse(readFileSync(at(name, 'run.json'), 'utf8')) as Run;

  test('logits and gradients, and nothing else is trained', async () => {
    const attune = await open();
    const { engine } = attune;
    const model = await adapted(attune, name, run);
    const expected = await readTensors(at(name, 'expected.safetensors'));
    const { data, shape } = expected.get('input_ids')!;
    const [batch, length] = shape as [number, number];
    const rows = Array.from({ length: batch }, (_, i) =>
      Array.from(data.slice(i * length, (i + 1) * length)),
    );
    const theirs = expected.get('logits')!.data;
    expect(largestDifference(await logits(model, rows), theirs)).toBeLessThan(1e-4);

    engine.scope('backward', () => {
      const inputIds = engine.tensor(rows.flat(), [batch, length], 'int32');
      const labels = rows.flatMap((row) => [...row.slice(1), -100]);
      const out = model.forward({ inputIds }).reshape(batch * length, model.config.vocabSize);
      const losses = ops.crossEntropy(out, engine.tensor(labels, [labels.length], 'int32'));
      engine.backward(losses.sum().div(batch * (length - 1)));
    });
    const trained = [...model.root.namedParameters()]
      .filter(([, parameter]) => parameter.trainable)
      .map(([treeName, { tensor }]) => [inFile(treeName), tensor] as const);
    const shapes = Object.fromEntries(trained.map(([file, tensor]) => [file, [...tensor.shape]]));
    expect(shapes).toEqual(run.trainable);
    const gradients = new Map(trained.map(([file, { grad }]) => [`grad.${file}`, grad!]));
    for (const [file, { data: wanted }] of expected)
      if (file.startsWith('grad.')) {
        const ours = (await gradients.get(file)!.data()) as Float32Array;
        const size = largestDifference(wanted, new Float32Array(wanted.length));
        expect(largestDifference(ours, wanted), file).toBeLessThan(1e-3 * size);
      }
  });

  test(`${VARIANT_UPDATES} of ${run.trace.length} updates`, async () => {
    const attune = await open();
    const model = await adapted(attune, name, run);
    const updates = await updatesOf(
      model,
      { trainDataset: run.rows },
      argumentsOf(run.settings),
      VARIANT_UPDATES,
    );
    expectUpdates(updates, run.trace.slice(0, VARIANT_UPDATES), { loss: 1e-3, gradNorm: 1e-2 });
  });

  if (run.canBeMerged !== undefined)
    test('merged, or refused where merging would change more than it adapts', async () => {
      const attune = await open();
      const model = await adapted(attune, name, run);
      const before = await logits(model);
      if (run.canBeMerged) {
        await model.mergeAdapter({ safeMerge: true });
        expect(largestDifference(await logits(model), before)).toBeLessThan(1e-4);
        model.unmergeAdapter();
      } else
        await expect(model.mergeAdapter()).rejects.toThrow(
          /PEFT_NOT_MERGEABLE: .* is the output head too/,
        );
      expect(await logits(model)).toEqual(before);
    });

  const { saved } = run;
  if (saved)
    test('is written as PEFT writes it', async () => {
      const attune = await open();
      const model = await adapted(attune, name, run);
      const path = await folder();
      await model.savePretrained(path);
      const file = await readTensors(join(path, 'adapter_model.safetensors'));
      expect(Object.fromEntries([...file].map(([key, { shape }]) => [key, [...shape]]))).toEqual(
        saved,
      );
      const theirs = await readTensors(at(name, 'adapter_model.safetensors'));
      // What an encoder of virtual tokens gives is computed: rounded otherwise.
      const rounding = readdirSync(at(name, '')).includes('prompt_encoder.safetensors') ? 1e-6 : 0;
      for (const [key, { data }] of theirs)
        expect(largestDifference(file.get(key)!.data, data), key).toBeLessThanOrEqual(rounding);
      const read = (from: string) => JSON.parse(readFileSync(from, 'utf8')) as object;
      const written = read(join(path, 'adapter_config.json'));
      expect(written).toEqual(read(at(name, 'adapter_config.json')));
    });
});

/** A parameter's name in the tree -> in the file. */
function inFile(treeName: string): string {
  const name = treeName.replace('.modules_to_save', '').replace('.default', '');
  return name.startsWith('prompt_encoder.') ? name : `base_model.model.${name}`;
}
