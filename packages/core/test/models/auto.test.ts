import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  decoderConfig,
  decoderOptions,
  defineModelFamily,
  definePlugin,
  ModelFamilies,
  RotaryDecoder,
  silentLogger,
} from '@attune/core';
import {
  SafetensorsFile,
  type TensorToWrite,
  tensorToWrite,
  writeSafetensors,
} from '@attune/core/io';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fixture, reference } from './support.js';

let scratch: string;
let attune: Attune;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-models-'));
});
afterAll(() => rm(scratch, { recursive: true }));
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

interface Change {
  config?: Record<string, unknown>;
  /** null removes, an array replaces with zeros of that shape. */
  tensors?: Record<string, readonly number[] | null>;
}

/** tiny-llama with something about it changed. */
async function changed(
  { config = {}, tensors = {} }: Change,
  from = 'tiny-llama',
): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'changed-'));
  await cp(fixture(from), folder, { recursive: true });
  const path = join(folder, 'config.json');
  const raw = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...raw, ...config }));
  if (Object.keys(tensors).length === 0) return folder;
  await using source = await SafetensorsFile.open(fixture(`${from}/model.safetensors`));
  const kept: TensorToWrite[] = source.names
    .filter((name) => !(name in tensors))
    .map((name) => ({ ...source.info(name), data: () => source.readBytes(name) }));
  for (const [name, shape] of Object.entries(tensors))
    if (shape)
      kept.push(tensorToWrite(name, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape));
  await writeSafetensors(join(folder, 'model.safetensors'), kept);
  return folder;
}

describe('fromPretrained explains', () => {
  const cases: [what: string, change: Change, code: string, says: RegExp][] = [
    [
      'an unknown model_type, with those that are known',
      { config: { model_type: 'lama' } },
      'UNKNOWN_NAME',
      /"lama"[\s\S]*llama, mistral[\s\S]*Did you mean "llama"/,
    ],
    ['a missing model_type', { config: { model_type: null } }, 'CONFIG_INVALID', /model_type/],
    [
      'a key of the wrong type',
      { config: { num_attention_heads: 'four' } },
      'CONFIG_INVALID',
      /num_attention_heads is "four"/,
    ],
    ['a missing size', { config: { vocab_size: null } }, 'CONFIG_INVALID', /vocab_size is null/],
    [
      'heads that the weights do not have',
      { config: { num_key_value_heads: 3 } },
      'WEIGHTS_SHAPE',
      /num_key_value_heads \(3\) x .* is 48.*k_proj\.weight" is \[32, 64\]/,
    ],
    [
      'an activation that it does not have',
      { config: { hidden_act: 'gelu' } },
      'CONFIG_INVALID',
      /hidden_act is "gelu"/,
    ],
    [
      'rotary embeddings that it does not have',
      { config: { rope_parameters: { rope_type: 'axial', rope_theta: 1e4 } } },
      'ROPE_UNSUPPORTED',
      /"axial"/,
    ],
    [
      'a checkpoint quantised by something else than bitsandbytes',
      { config: { quantization_config: { quant_method: 'gptq' } } },
      'CHECKPOINT_QUANTIZED',
      /"gptq"/,
    ],
    [
      'a missing tensor',
      { tensors: { 'model.norm.weight': null } },
      'WEIGHTS_MISMATCH',
      /1 tensors are missing \("model\.norm\.weight"\)/,
    ],
    [
      'a missing head, with the key that ties it',
      { tensors: { 'lm_head.weight': null } },
      'WEIGHTS_MISMATCH',
      /tie_word_embeddings/,
    ],
    [
      'an unexpected tensor',
      { tensors: { 'v_head.weight': [1] } },
      'WEIGHTS_MISMATCH',
      /1 have no place.*"v_head\.weight"[\s\S]*ignoreUnexpected/,
    ],
    [
      'a renamed tensor',
      { tensors: { 'model.norm.weight': null, 'model.norms.weight': [64] } },
      'WEIGHTS_MISMATCH',
      /Is "model\.norms\.weight" what "model\.norm\.weight" should be/,
    ],
    [
      'fewer layers than config.json says',
      { config: { num_hidden_layers: 3 } },
      'WEIGHTS_MISMATCH',
      /num_hidden_layers is 3, but the weights have 2 layers/,
    ],
    [
      'a shape that config.json does not ask for',
      { config: { num_key_value_heads: 4 } },
      'WEIGHTS_SHAPE',
      /"model\.layers\.0\.self_attn\.k_proj\.weight" is \[32, 64\].*asks for \[64, 64\][\s\S]*num_key_value_heads/,
    ],
  ];
  it.each(cases)('%s', async (_, change, code, says) => {
    const before = attune.backend.stats.liveBytes;
    const loading = AutoModelForCausalLM.fromPretrained(await changed(change), { attune });
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
    expect(attune.backend.stats.liveBytes).toBe(before);
  });

  it.each([
    ['HUB_NOT_CACHED', 'Qwen/Qwen2.5-0.5B', /localFilesOnly/],
    ['MODEL_FOLDER_MISSING', '../no/such/model', /no folder/],
    ['MODEL_FOLDER_MISSING', fixture('tiny-llama/config.json'), /is a file/],
    ['CONFIG_MISSING', fixture('stories260k'), /config\.json/],
  ])('%s: %s', async (code, folder, says) => {
    const options = { attune, localFilesOnly: true, cacheDir: fixture('no-such-cache') };
    const loading = AutoModelForCausalLM.fromPretrained(folder, options);
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
  });

  it('an option that nobody reads', async () => {
    const options = { attune, dtpye: 'float16' };
    const loading = AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), options);
    await expect(loading).rejects.toThrow(/UNKNOWN_OPTION.*"dtpye"[\s\S]*Did you mean "dtype"/);
  });
});

describe('fromPretrained', () => {
  it('takes configs and names of older checkpoints', async () => {
    const folder = await changed({
      config: {
        rope_parameters: undefined,
        rope_theta: 10000,
        dtype: undefined,
        torch_dtype: 'float32',
        head_dim: undefined,
        eos_token_id: [2, 5],
        pad_token_id: -1,
      },
      tensors: { 'model.layers.0.self_attn.rotary_emb.inv_freq': [8] },
    });
    const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    expect(model.config).toMatchObject({ headDim: 16, eosTokenId: [2, 5], padTokenId: null });
  });

  it('leaves unexpected tensors out when asked to', async () => {
    const extra = await changed({ tensors: { 'v_head.weight': [1] } });
    await AutoModelForCausalLM.fromPretrained(extra, { attune, ignoreUnexpected: true });
  });

  it('keeps the checkpoint dtype by default and converts when asked', async () => {
    const load = (folder: string, dtype?: 'bfloat16') =>
      AutoModelForCausalLM.fromPretrained(folder, { attune, ...(dtype ? { dtype } : {}) });
    const dtypes = (model: Awaited<ReturnType<typeof load>>) =>
      new Set([...model.root.namedParameters()].map(([, p]) => p.tensor.dtype));
    expect(dtypes(await load(fixture('tiny-llama')))).toEqual(new Set(['float32']));
    const half = await load(fixture('tiny-llama'), 'bfloat16');
    expect(dtypes(half)).toEqual(new Set(['bfloat16']));
    const folder = join(scratch, 'half');
    await half.savePretrained(folder);
    expect(JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')).dtype).toBe('bfloat16');
    const again = await load(folder);
    expect(dtypes(again)).toEqual(new Set(['bfloat16']));
    const weight = (model: typeof again) =>
      model.root.submodule('model.norm').ownParameters.get('weight')!.tensor.data();
    expect(await weight(again)).toEqual(await weight(half));
  });

  it('refuses float16 for a value beyond it', async () => {
    const folder = await mkdtemp(join(scratch, 'big-'));
    await cp(fixture('tiny-llama'), folder, { recursive: true });
    await using source = await SafetensorsFile.open(fixture('tiny-llama/model.safetensors'));
    const big = new Float32Array(64).fill(1e6);
    await writeSafetensors(
      join(folder, 'model.safetensors'),
      source.names.map((name) => ({
        ...source.info(name),
        data: name === 'model.norm.weight' ? big : () => source.readBytes(name),
      })),
    );
    const loading = AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float16' });
    await expect(loading).rejects.toThrow(/DTYPE_OVERFLOW.*"model\.norm\.weight" holds 1000000/);
  });

  it('makes every parameter trainable and gives all memory back on dispose', async () => {
    const before = attune.backend.stats.liveBytes;
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    expect([...model.root.namedParameters()].every(([, p]) => p.trainable)).toBe(true);
    model.dispose();
    expect(attune.backend.stats.liveBytes).toBe(before);
    expect(attune.engine.liveTensors).toBe(0);
  });
});

describe('savePretrained', () => {
  it.each(['tiny-llama', 'tiny-llama-tied', 'tiny-qwen2'])(
    '%s: the weights as Python wrote them, the config kept',
    async (name) => {
      const model = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
      const folder = join(scratch, `saved-${name}`);
      await model.savePretrained(folder);
      expect((await readdir(folder)).sort()).toEqual([
        'config.json',
        'generation_config.json',
        'model.safetensors',
      ]);
      const bytes = (at: string) => readFile(join(at, 'model.safetensors'));
      expect((await bytes(folder)).equals(await bytes(fixture(name)))).toBe(true);
      for (const file of ['config.json', 'generation_config.json']) {
        const json = async (at: string) => JSON.parse(await readFile(join(at, file), 'utf8'));
        expect(await json(folder)).toEqual(await json(fixture(name)));
      }
    },
  );
});

describe('fromConfig', () => {
  const config = {
    model_type: 'llama',
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 16,
    initializer_range: 0.05,
    attention_bias: true,
    mlp_bias: true,
    tie_word_embeddings: true,
  };

  it('starts with normal weights, norms of 1 and biases of 0; the seed decides', async () => {
    const build = (seed: number) => AutoModelForCausalLM.fromConfig(config, { attune, seed });
    const values = async (model: Awaited<ReturnType<typeof build>>) =>
      new Map(
        await Promise.all(
          [...model.root.namedParameters()].map(
            async ([name, p]) => [name, await p.tensor.data()] as const,
          ),
        ),
      );
    const first = await values(await build(1));
    expect(await values(await build(1))).toEqual(first);
    const embedding = [...first.get('model.embed_tokens.weight')!];
    const other = await values(await build(2));
    expect([...other.get('model.embed_tokens.weight')!]).not.toEqual(embedding);
    const deviation = Math.sqrt(embedding.reduce((s, v) => s + v * v, 0) / embedding.length);
    expect(deviation).toBeGreaterThan(0.045);
    expect(deviation).toBeLessThan(0.055);
    expect(new Set(first.get('model.norm.weight'))).toEqual(new Set([1]));
    expect(new Set(first.get('model.layers.1.self_attn.o_proj.bias'))).toEqual(new Set([0]));
    expect(new Set(first.get('model.layers.1.mlp.up_proj.bias'))).toEqual(new Set([0]));
  });

  it('saves and loads', async () => {
    const model = await AutoModelForCausalLM.fromConfig(config, { attune });
    const folder = join(scratch, 'fresh');
    await model.savePretrained(folder);
    const again = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    const inputIds = attune.engine.tensor([1, 2, 3], [1, 3], 'int32');
    const ours = await model.forward({ inputIds }).data();
    expect(await again.forward({ inputIds }).data()).toEqual(ours);
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  it('builds a family that a plugin adds', async () => {
    const own = defineModelFamily({
      modelType: 'own',
      config: decoderConfig,
      build: (engine, parsed, { dtype }) =>
        new RotaryDecoder(
          engine,
          decoderOptions(parsed, {
            dtype,
            tieWordEmbeddings: true,
            qkvBias: false,
            outputBias: false,
            mlpBias: false,
          }),
        ),
    });
    await using other = await createAttune({
      backend: 'reference',
      logger: silentLogger,
      plugins: [
        definePlugin({
          name: 'own-models',
          version: '1.0.0',
          apiVersion: 1,
          register: (context) => context.add(ModelFamilies, own),
        }),
      ],
    });
    const model = await AutoModelForCausalLM.fromConfig(
      { ...config, model_type: 'own' },
      { attune: other },
    );
    expect(model.config.modelType).toBe('own');
  });
});

describe('forward', () => {
  it('refuses a sequence beyond the positions, and inputs of a wrong shape', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    const ids = (length: number) =>
      attune.engine.tensor(new Int32Array(length), [1, length], 'int32');
    expect(() => model.forward({ inputIds: ids(129) })).toThrowError(
      /SEQUENCE_TOO_LONG.*129.*128 positions/,
    );
    expect(() => model.forward({ inputIds: ids(3).reshape(3) })).toThrowError(/INPUT_SHAPE/);
    expect(() => model.forward({ inputIds: ids(3), positions: ids(2) })).toThrowError(
      /INPUT_SHAPE/,
    );
  });

  it('gives packed rows the logits of each alone', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    const int = (values: number[]) => attune.engine.tensor(values, [1, values.length], 'int32');
    const packed = model.forward({
      inputIds: int([5, 6, 7, 8, 9]),
      positions: int([0, 1, 2, 0, 1]),
      segments: int([0, 0, 0, 1, 1]),
    });
    const first = await model.forward({ inputIds: int([5, 6, 7]) }).data();
    const second = await model.forward({ inputIds: int([8, 9]) }).data();
    expect(await packed.data()).toEqual(Float32Array.of(...first, ...second));
  });
});
