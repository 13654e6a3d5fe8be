import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
} from '@attune/core';
import { JsonNumber, type JsonValue, parseJson } from '@attune/core/util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { families } from '../models/familyParity.js';
import { fixture, reference } from '../models/support.js';

let scratch: string;
let attune: Attune;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-spelling-'));
});
afterAll(() => rm(scratch, { recursive: true }));
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

type Fields = ReadonlyMap<string, JsonValue>;
const read = async (folder: string, file: string) =>
  parseJson(await readFile(join(folder, file), 'utf8')) as Fields;

const temporary = () => mkdtemp(join(scratch, 'm-'));

/** A fixture whose config has these lines in front of it. */
async function withLines(name: string, lines: string, generation?: string): Promise<string> {
  const folder = await temporary();
  await cp(fixture(name), folder, { recursive: true });
  const text = await readFile(join(folder, 'config.json'), 'utf8');
  await writeFile(join(folder, 'config.json'), text.replace('{', `{${lines},`));
  if (generation) await writeFile(join(folder, 'generation_config.json'), generation);
  return folder;
}

const odd = `
  "a_float": 50.0, "small": 1e-05, "minus": -0.0, "big": 9007199254740993, "long": 0.1000,
  "id2label": {"10": "k", "2": "c", "0": "a"}, "nested": {"7": [1.0, {"x": 3.00}]}, "open": Infinity`;

describe('configs that are written back', () => {
  it.each(['tiny-llama', 'tiny-qwen2', ...families])(
    '%s: every number is spelt as in the file, and keys keep their order',
    async (name) => {
      const folder = await withLines(name, odd.replace(', "open": Infinity', ''));
      const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
      const saved = await temporary();
      await model.savePretrained(saved);
      model.dispose();
      for (const file of ['config.json', 'generation_config.json'])
        expect([...(await read(saved, file))]).toEqual([...(await read(folder, file))]);
    },
  );

  it('what Python alone writes, and generation_config.json too', async () => {
    const generation = '{"temperature": 2.0, "top_p": 0.90, "seed": 18446744073709551615}';
    const folder = await withLines('tiny-llama', odd, generation);
    const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    const saved = await temporary();
    await model.savePretrained(saved);
    expect(await readFile(join(saved, 'config.json'), 'utf8')).toContain('"open": Infinity');
    const fields = await read(saved, 'generation_config.json');
    expect([...fields.values()].map((v) => (v as JsonNumber).text)).toEqual([
      '2.0',
      '0.90',
      '18446744073709551615',
    ]);
    model.dispose();
  });

  it('keeps the spelling of what is not changed when something is', async () => {
    const folder = await withLines(
      'tiny-gemma2',
      odd.replace(/"id2label": {[^}]*},/, '').replace(', "open": Infinity', ''),
    );
    const options = { attune, dtype: 'float32' as const, quantization: { loadIn8bit: true } };
    const model = await AutoModelForSequenceClassification.fromPretrained(folder, options);
    const saved = await temporary();
    await model.savePretrained(saved);
    const fields = await read(saved, 'config.json');
    expect(fields.get('final_logit_softcapping')).toEqual(new JsonNumber('0.5'));
    expect(fields.get('attn_logit_softcapping')).toEqual(new JsonNumber('3.0'));
    expect(fields.get('big')).toEqual(new JsonNumber('9007199254740993'));
    expect(fields.get('dtype')).toBe('float32');
    model.dispose();
  });

  it('writes floats where transformers refuses ints, for a config made here too', async () => {
    const model = await AutoModelForCausalLM.fromConfig(
      {
        model_type: 'gemma2',
        vocab_size: 8,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 8,
        max_position_embeddings: 8,
        attn_logit_softcapping: 50,
        final_logit_softcapping: 30,
        initializer_range: 1,
        rope_theta: 10000,
      },
      { attune },
    );
    const saved = await temporary();
    await model.savePretrained(saved);
    const fields = await read(saved, 'config.json');
    const text = (key: string) => (fields.get(key) as JsonNumber).text;
    expect(
      ['attn_logit_softcapping', 'final_logit_softcapping', 'initializer_range'].map(text),
    ).toEqual(['50.0', '30.0', '1.0']);
    expect(text('vocab_size')).toBe('8');
    model.dispose();
  });
});
