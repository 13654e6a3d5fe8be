import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AttuneError,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  estimateMemory,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { families } from './familyParity.js';
import { fixture, fixtureJson, reference } from './support.js';

let scratch: string;
let attune: Attune;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-sizes-'));
  attune = await reference();
});
afterAll(async () => {
  attune.dispose();
  await rm(scratch, { recursive: true });
});

/** A fixture with the text of one value of its config replaced. */
async function changed(name: string, key: string, value: string): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'm-'));
  await cp(fixture(name), folder, { recursive: true });
  const config = fixtureJson(`${name}/config.json`);
  const text = JSON.stringify({ ...config, [key]: '<value>' }).replace('"<value>"', value);
  await writeFile(join(folder, 'config.json'), text);
  return folder;
}

async function refusal(loading: Promise<unknown>): Promise<AttuneError> {
  const error = await loading.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toSatisfy(AttuneError.isInstance);
  return error as AttuneError;
}

const huge = ['1000000000', '1e300', '-3', '0', '2.5', 'NaN', 'Infinity', '"12"', '[2]', 'true'];

describe('sizes in config.json are compared with the header of the weights before anything is built', () => {
  const sizes = (name: string): string[] =>
    name === 'tiny-gpt2'
      ? ['n_layer', 'n_embd', 'n_head', 'vocab_size', 'n_positions', 'n_inner']
      : [
          'num_hidden_layers',
          'hidden_size',
          'intermediate_size',
          'num_attention_heads',
          'num_key_value_heads',
          'head_dim',
          'vocab_size',
        ];
  it.each(['tiny-llama', 'tiny-qwen2', ...families])(
    '%s: every wrong one is named, with its value',
    async (name) => {
      const before = attune.backend.stats.liveBytes;
      for (const key of sizes(name))
        for (const value of huge) {
          const folder = await changed(name, key, value);
          const error = await refusal(AutoModelForCausalLM.fromPretrained(folder, { attune }));
          expect(error.code, `${key} ${value}`).toMatch(
            /^(CONFIG_INVALID|WEIGHTS_SHAPE|WEIGHTS_MISMATCH)$/,
          );
          expect(error.message, `${key} ${value}`).toContain(key);
          const shown = Number(value) > 0 ? String(Number(value)) : value.replaceAll('"', '');
          expect(error.message, `${key} ${value}`).toContain(shown);
          // What the weights have.
          expect(error.message, `${key} ${value}`).toMatch(/weights have|weights; |in the weights/);
        }
      expect(attune.backend.stats.liveBytes).toBe(before);
    },
    60_000,
  );

  it('a classifier is checked alike, its labels too', async () => {
    for (const [key, value] of [
      ['num_hidden_layers', '1e9'],
      ['vocab_size', '1e9'],
      ['num_labels', '1e9'],
    ] as const) {
      const folder = await changed('tiny-llama', key, value);
      const error = await refusal(
        AutoModelForSequenceClassification.fromPretrained(folder, { attune }),
      );
      expect(error.message).toMatch(/1000000000/);
    }
  });

  it('weights of 4 and 8 bits have the sizes of what they stand for', async () => {
    const folder = await mkdtemp(join(scratch, 'q-'));
    for (const quantization of [{ loadIn4bit: true }, { loadIn8bit: true }]) {
      const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
        attune,
        quantization,
      });
      await model.savePretrained(folder);
      model.dispose();
      (await AutoModelForCausalLM.fromPretrained(folder, { attune })).dispose();
      const path = join(folder, 'config.json');
      const raw = JSON.parse(await readFile(path, 'utf8'));
      await writeFile(path, JSON.stringify({ ...raw, head_dim: 1e9 }));
      const error = await refusal(AutoModelForCausalLM.fromPretrained(folder, { attune }));
      expect(error.message).toMatch(/head_dim \(1000000000\)/);
    }
  });

  it('without weights the number of layers is bounded', async () => {
    const config = { ...fixtureJson('tiny-llama/config.json'), num_hidden_layers: 1e9 };
    for (const asked of [
      AutoModelForCausalLM.fromConfig(config, { attune }),
      estimateMemory({ config }),
    ])
      expect((await refusal(asked)).message).toMatch(/num_hidden_layers is 1000000000/);
  });
});
