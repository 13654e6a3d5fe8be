import { copyFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type HostTensorData, writeSafetensors } from '@attune/core/io';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  disturb,
  fixture,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
  untyped,
} from '../support.js';

interface Row54 {
  readonly cases: readonly {
    readonly name: string;
    readonly attrs: Readonly<Record<string, unknown>> & { readonly base: string };
    readonly outputs: {
      readonly keys: Readonly<Record<string, readonly number[]>>;
      readonly trainable: Readonly<Record<string, readonly number[]>>;
      readonly trainableParameters: number;
    };
  }[];
}

const { cases } = fixture<Row54>('row54-adapter-keys.json');
const lora = { peftType: 'LORA', r: 4, targetModules: ['q_proj', 'v_proj'] } as const;

describe('adapters that PEFT saved', () => {
  for (const { name, attrs, outputs } of cases)
    describe(name, () => {
      const path = join(fixtures, 'adapters', name);

      test('row 53: our logits are those of PEFT; merged too', async () => {
        const attune = await open();
        const expected = await readTensors(join(path, 'expected.safetensors'));
        const ids = [...expected.get('input_ids')!.data];
        const rows = [ids.slice(0, 9), ids.slice(9)];
        const base = await load(attune, attrs.base);
        const before = await logits(base, rows);
        const model = await PeftModel.fromPretrained(base, path);
        const theirs = expected.get('logits')!.data;
        expect(largestDifference(await logits(model, rows), theirs)).toBeLessThan(1e-4);
        expect(largestDifference(await logits(model, rows), before)).toBeGreaterThan(0.05);
        expect(
          await model.withAdaptersDisabled(() => logits(model, rows)),
          'with the adapter off, the base',
        ).toEqual(before);
        await model.mergeAndUnload();
        expect(largestDifference(await logits(base, rows), theirs)).toBeLessThan(1e-4);
      });

      test('row 54: what we save for this config has its names and shapes', async () => {
        const attune = await open();
        const { base, ...config } = attrs;
        const model = getPeftModel(await load(attune, base), { peft_type: 'LORA', ...config });
        const out = await folder();
        await model.savePretrained(out);
        const saved = await readTensors(join(out, 'adapter_model.safetensors'));
        expect(Object.fromEntries([...saved].map(([key, t]) => [key, t.shape]))).toEqual(
          outputs.keys,
        );
        expect(model.getNbTrainableParameters().trainable).toBe(outputs.trainableParameters);
      });

      test('saved again, the same bytes and the same config', async () => {
        const attune = await open();
        const model = await PeftModel.fromPretrained(await load(attune, attrs.base), path);
        const out = await folder();
        await model.savePretrained(out);
        const file = 'adapter_model.safetensors';
        expect(await readFile(join(out, file))).toEqual(await readFile(join(path, file)));
        const json = async (at: string) =>
          JSON.parse(await readFile(join(at, 'adapter_config.json'), 'utf8'));
        expect(await json(out)).toEqual(await json(path));
        expect(await readdir(out)).toEqual(['adapter_config.json', file]);
      });
    });

  test('parameters are called as in PEFT', async () => {
    const attune = await open();
    const { outputs } = cases.find((c) => c.name === 'modules-to-save-lm-head')!;
    const path = join(fixtures, 'adapters/modules-to-save-lm-head');
    const model = await PeftModel.fromPretrained(await load(attune), path, { isTrainable: true });
    const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
    expect(trained.map(([name]) => `base_model.model.${name}`).sort()).toEqual(
      Object.keys(outputs.trainable).sort(),
    );
  });
});

describe('our own files', () => {
  test('saved and loaded: the same logits, and the same bytes when saved again', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), lora);
    disturb(model);
    const [first, second] = [await folder(), await folder()];
    await model.savePretrained(first);
    const again = await PeftModel.fromPretrained(await load(attune), first);
    expect(await logits(again)).toEqual(await logits(model));
    await again.savePretrained(second);
    for (const file of await readdir(first))
      expect(await readFile(join(second, file))).toEqual(await readFile(join(first, file)));
  });

  test('adapters but the default one lie in subfolders of their names', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), lora);
    model.addAdapter('math', lora);
    const out = await folder();
    await model.savePretrained(out);
    expect((await readdir(out)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
      'math',
    ]);
    await model.savePretrained(join(out, 'one'), { selectedAdapters: ['math'] });
    expect(await readdir(join(out, 'one'))).toEqual(['math']);
  });

  test('all-linear is saved as names that other tools read', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), { ...lora, targetModules: 'all-linear' });
    const out = await folder();
    await model.savePretrained(out);
    const config = JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8'));
    expect(config.target_modules).toEqual(
      ['q', 'k', 'v', 'o', 'gate', 'up', 'down'].map((name) => `${name}_proj`),
    );
    expect(config).toMatchObject({
      inference_mode: true,
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: join(fixtures, 'tiny-llama'),
    });
  });

  test('loadWeights puts the values back into the same parameters', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), lora);
    disturb(model);
    const out = await folder();
    await model.savePretrained(out);
    const saved = await logits(model);
    const before = new Map(model.root.namedParameters());
    disturb(model);
    expect(await logits(model)).not.toEqual(saved);
    await model.loadWeights(out);
    expect(await logits(model)).toEqual(saved);
    for (const [name, parameter] of model.root.namedParameters())
      expect(before.get(name)).toBe(parameter);
  });
});

describe('an adapter on the head, with the base beside it as PEFT writes it', () => {
  const name = 'base_model.model.lm_head.base_layer.weight';

  /** @returns the adapter's folder, the model's logits with it */
  async function saved(change: (head: HostTensorData) => HostTensorData = (head) => head) {
    const attune = await open();
    const model = getPeftModel(await load(attune), {
      ...lora,
      targetModules: ['q_proj', 'lm_head'],
    });
    disturb(model);
    const out = await folder();
    await model.savePretrained(out);
    const path = join(out, 'adapter_model.safetensors');
    const base = await readTensors(join(fixtures, 'tiny-llama', 'model.safetensors'));
    const head = { ...change(base.get('lm_head.weight')!), name };
    const tensors = [...(await readTensors(path)).values(), head];
    await writeSafetensors(
      path,
      tensors.map((t) => ({ ...t, data: async () => t.data })),
    );
    return { out, attune, expected: await logits(model) };
  }

  test('the head is the base’s: nothing to load', async () => {
    const { out, attune, expected } = await saved();
    const model = await PeftModel.fromPretrained(await load(attune), out);
    expect(await logits(model)).toEqual(expected);
    await model.loadWeights(out);
    // A base stored in 16 bits is the same base.
    const half = await PeftModel.fromPretrained(await load(attune, 'tiny-llama', 'bfloat16'), out);
    expect(largestDifference(await logits(half), expected)).toBeLessThan(0.5);
  });

  test('another head: refused, and the model is as it was', async () => {
    const one = await saved((head) => {
      const data = Float32Array.from(head.data);
      data[70]! *= 1.001;
      return { ...head, data };
    });
    const base = await load(one.attune);
    await expect(PeftModel.fromPretrained(base, one.out)).rejects.toMatchObject({
      code: 'PEFT_BASE_CHANGED',
      message: expect.stringMatching(/lm_head.* has other values .*merge_and_unload/s),
    });
    expect(base.adapters).toBeNull();
    const longer = await saved((head) => ({
      ...head,
      shape: [head.shape[0]! + 1, head.shape[1]!],
      data: new Float32Array((head.shape[0]! + 1) * head.shape[1]!),
    }));
    await expect(PeftModel.fromPretrained(base, longer.out)).rejects.toMatchObject({
      message: expect.stringMatching(/is \[257, 64\], the base has \[256, 64\]/),
    });
  });
});

describe('files that do not fit', () => {
  /** A copy of an adapter that PEFT saved, to be damaged. */
  async function copy(name = 'lora-qv'): Promise<string> {
    const to = join(await folder(), 'adapter');
    await mkdir(to);
    for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
      await copyFile(join(fixtures, 'adapters', name, file), join(to, file));
    return to;
  }

  async function edit(path: string, change: (config: Record<string, unknown>) => void) {
    const file = join(path, 'adapter_config.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    change(config);
    await writeFile(file, JSON.stringify(config));
  }

  /** The rejection, and that the model is as it was. */
  async function refused(path: string, base = 'tiny-llama') {
    const attune = await open();
    const model = await load(attune, base);
    const names = [...model.root.namedParameters()].map(([name]) => name);
    const error = await PeftModel.fromPretrained(model, path).then(
      () => 'loaded',
      (e: Error) => e.message,
    );
    expect(model.adapters).toBeNull();
    expect([...model.root.namedParameters()].map(([name]) => name)).toEqual(names);
    return error;
  }

  test('another base model: the shapes that disagree', async () => {
    expect(await refused(await copy(), 'tiny-qwen2')).toMatch(
      /PEFT_OTHER_BASE: .* does not fit this model in 8 of 8 tensors: model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight is \[8, 64\], this model needs \[8, 32\]; .*\.\.\.\.\n {2}Fix: .* tiny-llama\./,
    );
  });

  test('initial values: gone when the base stayed, refused when it changed', async () => {
    const path = await copy();
    await edit(path, (config) => {
      config.init_lora_weights = 'eva';
    });
    const attune = await open();
    const model = await PeftModel.fromPretrained(await load(attune), path);
    expect(model.peftConfig.default).toMatchObject({ initLoraWeights: true });
    // Asked for, it would have to be done.
    expect(() => getPeftModel(model, untyped({ ...lora, initLoraWeights: 'eva' }))).toThrow(
      /initLoraWeights is "eva": Expected true, false, "gaussian", "orthogonal"/,
    );
    for (const init of ['pissa_niter_4', 'corda', 'loftq', 'lora_ga']) {
      await edit(path, (config) => {
        config.init_lora_weights = init;
      });
      expect(await refused(path)).toMatch(
        /PEFT_UNSUPPORTED_OPTION: .*init_lora_weights is "[\s\S]*path_initial_model_for_weight_conversion/,
      );
    }
  });

  test('half a file', async () => {
    const path = await copy();
    await truncate(join(path, 'adapter_model.safetensors'), 6000);
    expect(await refused(path)).toMatch(/SAFETENSORS_/);
    await truncate(join(path, 'adapter_model.safetensors'), 100);
    expect(await refused(path)).toMatch(/SAFETENSORS_TRUNCATED/);
  });

  test('no config, no weights, a pickle', async () => {
    const path = await copy();
    await rm(join(path, 'adapter_model.safetensors'));
    expect(await refused(path)).toMatch(/PEFT_ADAPTER_INCOMPLETE: .* but no adapter_model\.safe/);
    await writeFile(join(path, 'adapter_model.bin'), '');
    expect(await refused(path)).toMatch(/pickle/);
    expect(await refused(await folder())).toMatch(/PEFT_ADAPTER_MISSING/);
    const unfinished = await copy();
    await rm(join(unfinished, 'adapter_config.json'));
    expect(await refused(unfinished)).toMatch(/not written to its end/);
  });

  test('tensors are missing', async () => {
    const path = await copy();
    await edit(path, (config) => {
      config.target_modules = ['q_proj', 'v_proj', 'o_proj'];
    });
    expect(await refused(path)).toMatch(
      /PEFT_ADAPTER_INCOMPLETE: .* lacks 4 of the 12 tensors .*o_proj\.lora_A\.weight/,
    );
  });

  test('tensors without a place', async () => {
    const path = await copy();
    await edit(path, (config) => {
      config.target_modules = ['q_proj'];
    });
    expect(await refused(path)).toMatch(/PEFT_TENSOR_UNKNOWN: .* has 4 tensors .*v_proj/);
  });

  test('another rank than the config says', async () => {
    const path = await copy();
    await edit(path, (config) => {
      config.r = 4;
    });
    expect(await refused(path)).toMatch(/is \[8, 64\], this model needs \[4, 64\]/);
  });

  test('an unknown peft_type lists those that are known', async () => {
    const path = await copy();
    await edit(path, (config) => {
      config.peft_type = 'LORE';
    });
    expect(await refused(path)).toMatch(/PEFT_TYPE_UNKNOWN: .*unknown peftType "LORE"[\s\S]*LORA/);
  });

  test('not JSON', async () => {
    const path = await copy();
    await writeFile(join(path, 'adapter_config.json'), '{ "peft_type": ');
    expect(await refused(path)).toMatch(/CONFIG_INVALID/);
  });
});
