import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode } from '@attune/core/backend';
import {
  SafetensorsFile,
  type TensorToWrite,
  tensorToWrite,
  WeightFolder,
  writeWeights,
} from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import { Rng } from '@attune/core/util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ExtractAdapterOptions, extractAdapter } from '../../src/index.js';
import { type TinyOptions, writeTiny } from '../tinyModels.js';

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-extract-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const fresh = (name = 'out') => join(root, `${name}-${count++}`);

type Values = Map<string, { shape: readonly number[]; data: Float32Array }>;

async function weightsOf(folder: string): Promise<Values> {
  await using weights = await WeightFolder.open(folder);
  const found: Values = new Map();
  for (const name of weights.names) {
    const { shape, dtype, data } = await weights.get(name);
    found.set(name, {
      shape,
      data: Float32Array.from(decode(data.buffer as ArrayBuffer, dtype, data.length)),
    });
  }
  return found;
}

/** Adds noise of rank `rank` to the weights that `changes` picks. */
async function tune(
  base: string,
  changes: (name: string) => boolean,
  {
    rank = 64,
    dtype = 'float32' as const,
    drop = [] as string[],
    add = new Map<string, readonly number[]>(),
  } = {},
): Promise<string> {
  const folder = fresh('tuned');
  await mkdir(folder, { recursive: true });
  const rng = new Rng(9, 1);
  const normals = (length: number) => Float64Array.from({ length }, () => rng.normal() * 0.3);
  const tensors: TensorToWrite[] = [];
  for (const [name, { shape, data }] of await weightsOf(base)) {
    if (drop.includes(name)) continue;
    if (changes(name)) {
      const [rows, columns] = shape.length === 2 ? (shape as [number, number]) : [1, data.length];
      const r = Math.min(rank, rows, columns);
      const added = algebra.product(
        { rows, columns: r, data: normals(rows * r) },
        { rows: r, columns, data: normals(r * columns) },
      );
      for (let i = 0; i < data.length; i++) data[i] = data[i]! + added.data[i]!;
    }
    tensors.push(tensorToWrite(name, data, shape, dtype));
  }
  for (const [name, shape] of add)
    tensors.push(tensorToWrite(name, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape));
  await writeWeights(folder, tensors);
  await writeFile(join(folder, 'config.json'), await readFile(join(base, 'config.json')));
  return folder;
}

const isLinear = (name: string) => /_proj\.weight$/.test(name);

async function pair(changes = isLinear, options: TinyOptions = {}, how = {}) {
  const base = await writeTiny(fresh('base'), 'llama', options);
  return { base, tuned: await tune(base, changes, how) };
}

const configOf = async (folder: string) =>
  JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));

async function tensorsOf(folder: string): Promise<Map<string, algebra.Dense>> {
  await using file = await SafetensorsFile.open(join(folder, 'adapter_model.safetensors'));
  const found = new Map<string, algebra.Dense>();
  for (const name of file.names) {
    const { shape, data, dtype } = await file.read(name);
    const values = decode(data.buffer as ArrayBuffer, dtype, data.length);
    found.set(name.replace('base_model.model.', ''), {
      rows: shape[0]!,
      columns: shape[1] ?? 1,
      data: values,
    });
  }
  return found;
}

/** What an adapter adds to a weight by PEFT's rule: alpha / r times B A. */
async function deltaOf(folder: string, path: string): Promise<algebra.OwnDense> {
  const tensors = await tensorsOf(folder);
  const config = await configOf(folder);
  const r = config.rank_pattern[path] ?? config.r;
  const alpha = config.alpha_pattern[path] ?? config.lora_alpha;
  const [a, b] = ['A', 'B'].map((side) => tensors.get(`${path}.lora_${side}.weight`)!);
  expect([a!.rows, b!.columns]).toEqual([r, r]);
  const product = algebra.product(b!, a!);
  return { ...product, data: product.data.map((value) => (value * alpha) / r) };
}

async function differenceOf(base: string, tuned: string, name: string): Promise<algebra.OwnDense> {
  const [before, after] = [await weightsOf(base), await weightsOf(tuned)];
  const { shape, data } = after.get(name)!;
  const old = before.get(name)!.data;
  return {
    rows: shape[0]!,
    columns: shape[1]!,
    data: Float64Array.from(data, (v, i) => v - old[i]!),
  };
}

const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));

describe('extractAdapter', () => {
  it('with full rank, base + B A is the tuned model, on every linear layer', async () => {
    const { base, tuned } = await pair();
    const outputDir = fresh();
    const seen: number[] = [];
    const result = await extractAdapter({
      baseModel: base,
      model: tuned,
      rank: 64,
      outputDir,
      onProgress: ({ tensorsDone, tensorsTotal }) => seen.push(tensorsDone / tensorsTotal),
    });
    expect((await readdir(outputDir)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
    expect(result.layers).toHaveLength(14);
    expect(result).toMatchObject({ rank: 16, leftOut: [], savedWhole: [] });
    expect(result.energy).toBeCloseTo(1, 9);
    expect(seen.at(-1)).toBe(1);
    for (const { path, energy, norm } of result.layers) {
      const difference = await differenceOf(base, tuned, `${path}.weight`);
      expect(largest((await deltaOf(outputDir, path)).data, difference.data)).toBeLessThan(1e-5);
      expect(energy).toBeCloseTo(1, 9);
      expect(norm).toBeCloseTo(algebra.frobeniusNorm(difference), 5);
    }
    expect(await configOf(outputDir)).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: base,
      r: 16,
      lora_alpha: 16,
      rank_pattern: {},
      alpha_pattern: {},
      fan_in_fan_out: false,
      inference_mode: true,
      modules_to_save: null,
      target_modules: ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj'],
    });
  });

  it('rank 2: the leading directions, one rank for all, half of their size in each factor', async () => {
    const { base, tuned } = await pair();
    const outputDir = fresh();
    const { layers } = await extractAdapter({ baseModel: base, model: tuned, rank: 2, outputDir });
    const path = 'model.layers.1.mlp.gate_proj';
    const difference = await differenceOf(base, tuned, `${path}.weight`);
    const { a, b } = algebra.exactTruncatedSvd(difference, 2);
    const nearest = algebra.product(b, a);
    expect(largest((await deltaOf(outputDir, path)).data, nearest.data)).toBeLessThan(1e-5);
    const share = algebra.frobeniusNorm(nearest) ** 2 / algebra.frobeniusNorm(difference) ** 2;
    expect(layers.find((layer) => layer.path === path)!.energy).toBeCloseTo(share, 6);
    const tensors = await tensorsOf(outputDir);
    const norms = ['A', 'B'].map((side) =>
      algebra.frobeniusNorm(tensors.get(`${path}.lora_${side}.weight`)!),
    );
    expect(norms[0]).toBeCloseTo(norms[1]!, 4);
    expect(
      new Set([...tensors].filter(([n]) => n.includes('lora_A')).map(([, t]) => t.rows)),
    ).toEqual(new Set([2]));
  });

  it('energy: each layer has the smallest rank that holds it, written as rank_pattern', async () => {
    const base = await writeTiny(fresh('base'), 'llama');
    const once = await tune(base, (name) => /mlp.*_proj\.weight$/.test(name), { rank: 3 });
    const tuned = await tune(once, (name) => /self_attn\..*_proj\.weight$/.test(name), { rank: 1 });
    const outputDir = fresh();
    const given = { baseModel: base, model: tuned, energy: 0.9999 } as const;
    const { layers, rank, notes } = await extractAdapter({ ...given, outputDir });
    expect(rank).toBe(3);
    for (const { path, rank: own, energy } of layers) {
      expect(own).toBe(path.includes('mlp') ? 3 : 1);
      expect(energy).toBeGreaterThanOrEqual(0.9999);
      const difference = await differenceOf(base, tuned, `${path}.weight`);
      expect(largest((await deltaOf(outputDir, path)).data, difference.data)).toBeLessThan(1e-4);
    }
    const { r, rank_pattern, alpha_pattern } = await configOf(outputDir);
    expect(r).toBe(3);
    expect(Object.keys(rank_pattern)).toHaveLength(8);
    expect(alpha_pattern).toEqual(rank_pattern);
    expect(notes).toEqual([expect.stringMatching(/llama\.cpp.*uniform: true/)]);

    const level = fresh();
    await extractAdapter({ ...given, uniform: true, outputDir: level });
    expect(await configOf(level)).toMatchObject({ r: 3, lora_alpha: 3, rank_pattern: {} });
    for (const { path } of layers) {
      const difference = await differenceOf(base, tuned, `${path}.weight`);
      expect(largest((await deltaOf(level, path)).data, difference.data)).toBeLessThan(1e-4);
    }

    const capped = await extractAdapter({ ...given, maxRank: 2, outputDir: fresh() });
    expect(capped.rank).toBe(2);
    expect(capped.notes).toContainEqual(
      expect.stringMatching(/6 of 14 layers hold less than 0.9999/),
    );
  });

  it('says what changed and is left out, the largest first; saves it whole by option', async () => {
    const changed = (name: string) => isLinear(name) || /norm|embed|lm_head/.test(name);
    const { base, tuned } = await pair(changed);
    const outputDir = fresh();
    const given = { baseModel: base, model: tuned, rank: 64 } as const;
    const { leftOut, notes } = await extractAdapter({ ...given, outputDir });
    expect(leftOut.map(({ name }) => name).sort()).toEqual([
      'lm_head.weight',
      'model.embed_tokens.weight',
      'model.layers.0.input_layernorm.weight',
      'model.layers.0.post_attention_layernorm.weight',
      'model.layers.1.input_layernorm.weight',
      'model.layers.1.post_attention_layernorm.weight',
      'model.norm.weight',
    ]);
    const norms = leftOut.map(({ norm }) => norm);
    expect(norms).toEqual([...norms].sort((a, b) => b - a));
    expect(notes[0]).toMatch(/7 tensors changed and are not in the adapter: .* and 4 more/);

    const whole = fresh();
    const all = await extractAdapter({ ...given, modulesToSave: 'changed', outputDir: whole });
    expect(all.leftOut).toEqual([]);
    expect(all.savedWhole).toHaveLength(7);
    const { modules_to_save } = await configOf(whole);
    // Not "norm", which PEFT would find in "input_layernorm" too, if that were not saved as well.
    expect(modules_to_save).toEqual([
      'embed_tokens',
      'input_layernorm',
      'lm_head',
      'norm',
      'post_attention_layernorm',
    ]);
    const [saved, after] = [await tensorsOf(whole), await weightsOf(tuned)];
    for (const name of leftOut.map((left) => left.name))
      expect(largest(saved.get(name)!.data, after.get(name)!.data)).toBe(0);

    const some = fresh();
    await extractAdapter({ ...given, modulesToSave: ['norm', 'lm_head'], outputDir: some });
    // PEFT finds "norm" at the end of any name, so the path stands here.
    expect((await configOf(some)).modules_to_save).toEqual(['lm_head', 'model.norm']);
  });

  it('embedLora: embeddings and the head as pairs', async () => {
    const { base, tuned } = await pair((name) => isLinear(name) || /embed|lm_head/.test(name));
    const outputDir = fresh();
    const { leftOut } = await extractAdapter({
      baseModel: base,
      model: tuned,
      rank: 64,
      embedLora: true,
      outputDir,
    });
    expect(leftOut).toEqual([]);
    const tensors = await tensorsOf(outputDir);
    const [a, b] = ['A', 'B'].map(
      (side) => tensors.get(`model.embed_tokens.lora_embedding_${side}`)!,
    );
    expect([a!.rows, a!.columns, b!.rows, b!.columns]).toEqual([16, 13, 16, 16]);
    const added = algebra.transposed(algebra.product(b!, a!));
    const difference = await differenceOf(base, tuned, 'model.embed_tokens.weight');
    expect(largest(added.data, difference.data)).toBeLessThan(1e-5);
    const head = await differenceOf(base, tuned, 'lm_head.weight');
    expect(largest((await deltaOf(outputDir, 'lm_head')).data, head.data)).toBeLessThan(1e-5);
  });

  it("GPT-2's layers lie transposed", async () => {
    const base = await writeTiny(fresh('base'), 'gpt2', { tied: true });
    const tuned = await tune(base, (name) => /\.c_\w+\.weight$/.test(name));
    const outputDir = fresh();
    const { layers } = await extractAdapter({ baseModel: base, model: tuned, rank: 64, outputDir });
    expect(layers).toHaveLength(8);
    expect(await configOf(outputDir)).toMatchObject({
      fan_in_fan_out: true,
      target_modules: ['c_attn', 'c_fc', 'c_proj'],
    });
    for (const { path } of layers) {
      const added = algebra.transposed(await deltaOf(outputDir, path));
      const difference = await differenceOf(base, tuned, `${path}.weight`);
      expect([added.rows, added.columns]).toEqual([difference.rows, difference.columns]);
      expect(largest(added.data, difference.data)).toBeLessThan(1e-5);
    }
  });

  it('targetModules and excludeModules are those of a config; unchanged layers are none', async () => {
    const { base, tuned } = await pair(
      (name) => isLinear(name) && !name.includes('layers.0.self_attn.q'),
    );
    const given = { baseModel: base, model: tuned, rank: 2 } as const;
    const targetsOf = async (options: Partial<ExtractAdapterOptions>) => {
      const outputDir = fresh();
      await extractAdapter({ ...given, ...options, outputDir });
      return (await configOf(outputDir)).target_modules;
    };
    expect(await targetsOf({ targetModules: ['k_proj', 'mlp.up_proj'] })).toEqual([
      'k_proj',
      'up_proj',
    ]);
    expect(
      await targetsOf({
        targetModules: '.*layers\\.1\\..*_proj',
        excludeModules: ['v_proj', 'down_proj', 'up_proj', 'gate_proj'],
      }),
    ).toEqual([
      'model.layers.1.self_attn.k_proj',
      'model.layers.1.self_attn.o_proj',
      'model.layers.1.self_attn.q_proj',
    ]);
    const all = await targetsOf({});
    expect(all).toHaveLength(13);
    expect(all).not.toContain('model.layers.0.self_attn.q_proj');
  });

  it('bfloat16 checkpoints, and adapters in 16 bits', async () => {
    const { base, tuned } = await pair(isLinear, { dtype: 'bfloat16' }, { dtype: 'bfloat16' });
    const outputDir = fresh();
    await extractAdapter({ baseModel: base, model: tuned, rank: 64, dtype: 'bfloat16', outputDir });
    await using file = await SafetensorsFile.open(join(outputDir, 'adapter_model.safetensors'));
    expect(file.info(file.names[0]!).dtype).toBe('BF16');
    const path = 'model.layers.0.mlp.up_proj';
    const difference = await differenceOf(base, tuned, `${path}.weight`);
    expect(largest((await deltaOf(outputDir, path)).data, difference.data)).toBeLessThan(0.03);
  });

  it('a head that was tied before and is not after', async () => {
    const base = await writeTiny(fresh('base'), 'llama', { tied: true });
    const tuned = await tune(base, isLinear, { add: new Map([['lm_head.weight', [13, 16]]]) });
    const { leftOut } = await extractAdapter({
      baseModel: base,
      model: tuned,
      rank: 2,
      outputDir: fresh(),
    });
    expect(leftOut.map(({ name }) => name)).toEqual(['lm_head.weight']);
  });

  // PEFT copies the module that is named and no other: logits of the base's head were the price.
  it('a tied embedding that is saved whole is saved as the head, too', async () => {
    const base = await writeTiny(fresh('base'), 'llama', { tied: true });
    const tuned = await tune(base, (name) => isLinear(name) || /embed/.test(name));
    const outputDir = fresh();
    const { savedWhole } = await extractAdapter({
      baseModel: base,
      model: tuned,
      rank: 2,
      modulesToSave: 'changed',
      outputDir,
    });
    expect(savedWhole).toEqual(['model.embed_tokens', 'lm_head']);
    expect((await configOf(outputDir)).modules_to_save).toEqual(['embed_tokens', 'lm_head']);
    const tensors = await tensorsOf(outputDir);
    const after = (await weightsOf(tuned)).get('model.embed_tokens.weight')!;
    for (const name of ['model.embed_tokens.weight', 'lm_head.weight'])
      expect(largest(tensors.get(name)!.data, after.data)).toBe(0);
  });

  it('a checkpoint of the bare model has names without its body', async () => {
    const base = await writeTiny(fresh('base'), 'llama', {
      tied: true,
      tensors: (shapes) => {
        for (const [name, shape] of [...shapes]) {
          shapes.delete(name);
          shapes.set(name.replace(/^model\./, ''), shape);
        }
      },
    });
    const tuned = await tune(base, isLinear);
    const { layers } = await extractAdapter({
      baseModel: base,
      model: tuned,
      rank: 2,
      outputDir: fresh(),
    });
    expect(layers[0]!.path).toMatch(/^model\.layers\.0\./);
  });

  describe('refuses', () => {
    const refused = async (
      options: Partial<ExtractAdapterOptions>,
      { base, tuned }: { base: string; tuned: string },
    ) => {
      const outputDir = fresh();
      const given = { baseModel: base, model: tuned, rank: 2, outputDir, ...options };
      const error = await extractAdapter(given).then(
        () => new Error('it was written'),
        (thrown: unknown) => thrown as Error,
      );
      const there = await readdir(root);
      expect(there.filter((name) => name.includes('tmp'))).toEqual([]);
      if (!options.outputDir) expect(there).not.toContain(outputDir.slice(root.length + 1));
      return String(error);
    };

    it.each<[string, Partial<ExtractAdapterOptions>, RegExp]>([
      ['no rank', { rank: undefined as never }, /MERGE_EXTRACT: .*neither rank nor energy/],
      ['both', { energy: 0.5 }, /MERGE_EXTRACT: .*both rank and energy/],
      ['rank 0', { rank: 0 }, /INVALID_OPTION.*rank/],
      ['energy above 1', { rank: undefined as never, energy: 1.5 }, /INVALID_OPTION.*energy/],
      ['an unknown option', { alpha: 2 } as never, /UNKNOWN_OPTION.*alpha/],
      [
        'a target that is none',
        { targetModules: ['qproj'] },
        /MERGE_EXTRACT: .*"qproj" is no module.*q_proj/s,
      ],
      ['a bad expression', { targetModules: '(' }, /MERGE_EXTRACT: .*not a regular expression/],
      [
        'a saved module that is none',
        { modulesToSave: ['nrm'] },
        /modulesToSave "nrm" is no module/,
      ],
    ])('%s', async (_, options, says) => {
      const models = await pair();
      expect(await refused(options, models)).toMatch(says);
    });

    it('models that do not belong together, all that differs in one message', async () => {
      const { base, tuned } = await pair();
      const wider = await writeTiny(fresh('base'), 'llama', { vocab: 15 });
      expect(await refused({}, { base: wider, tuned })).toMatch(
        /MERGE_OTHER_MODEL: .*lm_head.*"model\.embed_tokens\.weight" is \[15,16\] and \[13,16\]/,
      );
      const other = await writeTiny(fresh('base'), 'qwen2');
      expect(await refused({}, { base: other, tuned })).toMatch(
        /model_type is "qwen2" and "llama"/,
      );
      const missing = await tune(base, isLinear, {
        drop: ['model.norm.weight', 'model.layers.1.mlp.up_proj.weight'],
      });
      expect(await refused({}, { base, tuned: missing })).toMatch(
        /the tuned model has no "model\.layers\.1\.mlp\.up_proj\.weight"; the tuned model has no "model\.norm/,
      );
      const deeper = await writeTiny(fresh('base'), 'llama', { layers: 3 });
      expect(await refused({}, { base, tuned: deeper })).toMatch(/the base has no .*and 4 more/);
    });

    it('the same weights, and differences that no target has', async () => {
      const { base, tuned } = await pair((name) => /norm/.test(name));
      expect(await refused({}, { base, tuned: base })).toMatch(/MERGE_NO_DIFFERENCE: .*every one/);
      expect(await refused({}, { base, tuned })).toMatch(
        /MERGE_NO_DIFFERENCE: .*differs .* in 5 tensors.*changed most/,
      );
      expect(await refused({ modulesToSave: 'changed' }, { base, tuned })).toMatch(
        /MERGE_NO_DIFFERENCE: .*saved whole, and in no layer.*PEFT loads no such adapter/,
      );
    });

    it('quantised checkpoints', async () => {
      const { tuned } = await pair();
      const base = await writeTiny(fresh('base'), 'llama', {
        config: { quantization_config: { quant_method: 'bitsandbytes' } },
      });
      expect(await refused({}, { base, tuned })).toMatch(/MERGE_MODEL: .*quantised.*bitsandbytes/);
    });

    it('numbers that are none', async () => {
      const { base } = await pair();
      const tuned = await tune(base, isLinear);
      const file = join(tuned, 'model.safetensors');
      const bytes = await readFile(file);
      bytes.writeUInt32LE(0x7fc00000, bytes.length - 4);
      await writeFile(file, bytes);
      expect(await refused({}, { base, tuned })).toMatch(/MERGE_NON_FINITE: .*NaN at element/);
    });

    it('an output that is there, that is a file, or that is an input', async () => {
      const models = await pair();
      const outputDir = fresh();
      await mkdir(outputDir);
      await writeFile(join(outputDir, 'old'), '');
      expect(await refused({ outputDir }, models)).toMatch(/MERGE_OUTPUT: .*there already/);
      expect(await refused({ outputDir: models.base, overwrite: true }, models)).toMatch(
        /is an input/,
      );
      expect(await refused({ outputDir: root, overwrite: true }, models)).toMatch(
        /holds the input/,
      );
      expect(await refused({ outputDir: 'a\0b' }, models)).toMatch(/INVALID_OPTION: .*NUL/);
      expect(await refused({ outputDir: join(outputDir, 'old') }, models)).toMatch(/is a file/);
      expect(await refused({ outputDir, overwrite: true }, models)).toMatch(/holds no model/);
      await writeFile(join(outputDir, 'adapter_model.safetensors'), '');
      const given = { baseModel: models.base, model: models.tuned, rank: 2 } as const;
      await extractAdapter({ ...given, outputDir, overwrite: true });
      expect(await readdir(outputDir)).not.toContain('old');
    });

    it('a LoRA of an embedding that is the head, too', async () => {
      const base = await writeTiny(fresh('base'), 'llama', { tied: true });
      const tuned = await tune(base, (name) => /embed/.test(name));
      expect(await refused({ embedLora: true }, { base, tuned })).toMatch(
        /MERGE_EXTRACT: .*embed_tokens is the output head too/,
      );
    });

    it('stops where it is told to, and leaves nothing', async () => {
      const stop = new AbortController();
      const text = await refused(
        { signal: stop.signal, onProgress: () => stop.abort() },
        await pair(),
      );
      expect(text).toMatch(/AbortError/);
    });
  });
});
