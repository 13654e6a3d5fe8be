import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type CausalLM,
  estimateMemory,
} from '@attune/core';
import { SafetensorsFile, type TensorToWrite, writeWeights } from '@attune/core/io';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readSftRow } from '../../src/text/formats.js';
import { loadModelWeights } from '../../src/trainer/run/modelWeights.js';
import { fixture, fixtureJson, largestDifference, reference } from './support.js';

let scratch: string;
let attune: Attune;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-nested-'));
});
afterAll(() => rm(scratch, { recursive: true }));
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const temporary = () => mkdtemp(join(scratch, 'm-'));
const models = ['nested-gemma3', 'nested-mistral3', 'nested-smolvlm'];

const load = (folder: string, options = {}): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32', ...options });

/** Largest difference to the logits that transformers gives the text alone. */
async function difference(model: CausalLM, name: string): Promise<number> {
  await using expected = await SafetensorsFile.open(fixture(`${name}/forward.safetensors`));
  const ids = await expected.read('input_ids');
  const inputIds = model.engine.tensor(ids.data as Int32Array, ids.shape as number[], 'int32');
  const logits = model.engine.scope('test', () => model.forward({ inputIds }));
  return largestDifference(await logits.data(), (await expected.read('logits')).data);
}

/** The checkpoint with its tensors renamed, or left out where the name is null. */
async function renamed(
  name: string,
  rename: (tensor: string) => string | null,
  maxShardSize = '50GB',
): Promise<string> {
  const folder = await temporary();
  await cp(fixture(name), folder, { recursive: true });
  await using source = await SafetensorsFile.open(fixture(`${name}/model.safetensors`));
  const tensors = source.names.flatMap((tensor): TensorToWrite[] => {
    const other = rename(tensor);
    if (other === null) return [];
    return [{ ...source.info(tensor), name: other, data: () => source.readBytes(tensor) }];
  });
  await writeWeights(folder, tensors, { maxShardSize });
  return folder;
}

describe('a checkpoint whose text model is one of several towers', () => {
  it.each(models)(
    '%s: logits of text, and the names of the class in transformers',
    async (name) => {
      const model = await load(fixture(name));
      expect(await difference(model, name)).toBeLessThan(2e-5);
      const names = [...model.root.namedParameters()].map(([n]) => n).sort();
      const theirs = fixtureJson(`${name}/names.json`) as string[];
      const isText = (n: string) => /^lm_head|\.(language_model|text_model)\./.test(n);
      expect(names).toEqual(theirs.filter(isText));
      model.dispose();
    },
  );

  it.each(models)('%s: greedy tokens are those of transformers', async (name) => {
    const model = await load(fixture(name));
    await using expected = await SafetensorsFile.open(fixture(`${name}/forward.safetensors`));
    const ids = (await expected.read('input_ids')).data as Int32Array;
    const { sequences } = await model.generate({
      inputIds: [...ids.slice(0, 12)],
      maxNewTokens: 12,
      eosTokenId: [],
    });
    expect(sequences[0]!.slice(-12)).toEqual([
      ...((await expected.read('greedy')).data as Int32Array),
    ]);
    model.dispose();
  });

  it('old names and new ones, in one file and in shards; the other towers need not be there', async () => {
    const inside = (tensor: string) =>
      tensor
        .replace(/^language_model\.lm_head/, 'lm_head')
        .replace(/^language_model\.model\./, 'model.language_model.')
        .replace(/^(vision_tower|multi_modal_projector)/, 'model.$1');
    const text = (tensor: string) => (/vision|projector/.test(tensor) ? null : tensor);
    for (const name of ['nested-gemma3', 'nested-mistral3'])
      for (const folder of [
        await renamed(name, inside),
        await renamed(name, inside, '8KB'),
        await renamed(name, text),
      ]) {
        const model = await load(folder);
        expect(await difference(model, name)).toBeLessThan(2e-5);
        model.dispose();
      }
  });

  it('a tensor of no tower is refused', async () => {
    const folder = await renamed('nested-gemma3', (tensor) =>
      tensor.startsWith('multi_modal_projector.mm_soft') ? 'audio_tower.weight' : tensor,
    );
    await expect(load(folder)).rejects.toThrow(/WEIGHTS_MISMATCH.*"audio_tower\.weight"/);
  });

  it.each(models)(
    '%s: saved, it is the text model alone, which loads and resumes',
    async (name) => {
      const model = await load(fixture(name));
      const folder = await temporary();
      await model.savePretrained(folder);
      const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
      expect(config).toMatchObject({
        model_type: fixtureJson(`${name}/config.json`).text_config.model_type,
      });
      expect(config.architectures[0]).toMatch(/ForCausalLM$/);
      const alone = await load(folder);
      expect(alone.config.nested).toBeUndefined();
      expect([...alone.root.namedParameters()][0]![0]).toBe('model.embed_tokens.weight');
      expect(await difference(alone, name)).toBeLessThan(2e-5);
      await loadModelWeights(model, folder);
      expect(await difference(model, name)).toBeLessThan(2e-5);
      alone.dispose();
      model.dispose();
    },
  );

  it('in 4 bits, loaded, saved and loaded again', async () => {
    const model = await load(fixture('nested-mistral3'), { quantization: { loadIn4bit: true } });
    expect([...model.root.namedParameters()].map(([n]) => n)).not.toContain(
      'model.language_model.layers.0.mlp.up_proj.weight',
    );
    const before = await difference(model, 'nested-mistral3');
    const folder = await temporary();
    await model.savePretrained(folder);
    model.dispose();
    const again = await load(folder);
    expect(await difference(again, 'nested-mistral3')).toBe(before);
    again.dispose();
  });

  it('what a text_config leaves out is what the class has: Gemma 3 of 4 B says little', async () => {
    const config = {
      model_type: 'gemma3',
      eos_token_id: [1, 106],
      text_config: {
        hidden_size: 2560,
        intermediate_size: 10240,
        model_type: 'gemma3_text',
        num_hidden_layers: 34,
        rope_scaling: { factor: 8.0, rope_type: 'linear' },
        sliding_window: 1024,
      },
      torch_dtype: 'bfloat16',
    };
    const plan = await estimateMemory({
      config,
      args: { perDeviceTrainBatchSize: 1, maxLength: 8 },
    });
    // 3,880,263,168 parameters of the text model, 4 bytes each.
    expect(plan.bytesOf('weights') / 4 / 3_880_263_168).toBeGreaterThan(0.999);
  });

  it('sizes in text_config are compared with the weights', async () => {
    const folder = await temporary();
    await cp(fixture('nested-gemma3'), folder, { recursive: true });
    const raw = fixtureJson('nested-gemma3/config.json');
    raw.text_config.num_hidden_layers = 1e9;
    delete raw.text_config.layer_types;
    await writeFile(join(folder, 'config.json'), JSON.stringify(raw));
    await expect(load(folder)).rejects.toThrow(/num_hidden_layers is 1000000000.*2 layers/);
  });

  it('makes no classifier, and says what to do', async () => {
    const loading = AutoModelForSequenceClassification.fromPretrained(fixture('nested-gemma3'), {
      attune,
    });
    await expect(loading).rejects.toThrow(/"gemma3" has other towers[\s\S]*text model alone/);
  });

  it.each([
    ['internvl', 'qwen2', /no model family "internvl".*"qwen2", which is known/],
    [
      'qwen2_5_vl',
      'qwen2_5_vl_text',
      /no model family "qwen2_5_vl".*"qwen2_5_vl_text", which is not there/,
    ],
    ['llava', 'cohere', /text model of this "llava".*"cohere", which is not there/],
  ])('%s with %s: the error says which text family it takes', async (modelType, text, says) => {
    const config = { model_type: modelType, text_config: { model_type: text } };
    await expect(AutoModelForCausalLM.fromConfig(config, { attune })).rejects.toThrow(says);
  });
});

describe('rows with something that is no text', () => {
  const said = [{ role: 'user', content: 'a' }];
  it.each([
    [
      { messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'a' }] }] },
      /"messages"\[0\]\.content\[0\], of type "image"/,
    ],
    [
      {
        prompt: [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }],
        completion: said,
      },
      /"prompt"\[0\].*"image_url"/,
    ],
    [{ messages: said, images: ['x.png'] }, /the column "images"/],
    [{ text: 'a', image: {} }, /the column "image"/],
    [{ input_ids: [1, 2], pixel_values: [[1]] }, /the column "pixel_values"/],
  ])('%j is refused with a sentence', (row, says) => {
    expect(() => readSftRow(row, 'a.jsonl:3')).toThrow(says);
    expect(() => readSftRow(row, 'a.jsonl:3')).toThrow(/ROW_FORMAT: a\.jsonl:3/);
  });

  it('empty columns are nothing', () => {
    expect(readSftRow({ text: 'a', images: [], image: null }, 'x:1').kind).toBe('text');
  });
});
