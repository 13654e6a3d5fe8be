import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type CausalLM,
  createAttune,
} from '@attune/core';
import { SafetensorsFile, type TensorToWrite, tensorToWrite, writeWeights } from '@attune/core/io';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadModelWeights } from '../../src/trainer/run/modelWeights.js';
import { families } from './familyParity.js';
import { fixture } from './support.js';

let scratch: string;
let attune: Attune;
let warnings: string[];
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-tied-'));
});
afterAll(() => rm(scratch, { recursive: true }));
beforeEach(async () => {
  warnings = [];
  const note = (message: string) => warnings.push(message);
  const logger = { debug() {}, info() {}, warn: note, error: note };
  attune = await createAttune({ backend: 'reference', logger });
});
afterEach(() => attune.dispose());

const embeddings = /(embed_tokens|wte)\.weight$/;

interface Change {
  tie: boolean;
  /** What lm_head.weight becomes: of its own, the embedding, the embedding's only copy, or none. */
  head: 'other' | 'embedding' | 'alone' | 'none';
  maxShardSize?: string;
}

/** A fixture with its flag and its head changed; its embedding stays what it was. */
async function changed(from: string, { tie, head, maxShardSize }: Change): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'm-'));
  await cp(fixture(from), folder, { recursive: true });
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
  config.tie_word_embeddings = tie;
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await using source = await SafetensorsFile.open(fixture(`${from}/model.safetensors`));
  const embedding = source.names.find((name) => embeddings.test(name))!;
  const tensors: TensorToWrite[] = source.names
    .filter((name) => name !== 'lm_head.weight' && !(head === 'alone' && name === embedding))
    .map((name) => ({ ...source.info(name), data: () => source.readBytes(name) }));
  const { shape } = source.info(embedding);
  if (head === 'other') {
    const values = Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.sin(i) / 8);
    tensors.push(tensorToWrite('lm_head.weight', values, shape));
  } else if (head !== 'none')
    tensors.push({
      ...source.info(embedding),
      name: 'lm_head.weight',
      data: () => source.readBytes(embedding),
    });
  await writeWeights(folder, tensors, maxShardSize ? { maxShardSize } : {});
  return folder;
}

const ids = [1, 5, 9, 33, 2, 77];

async function logitsOf(model: CausalLM): Promise<ArrayLike<number>> {
  const inputIds = model.engine.tensor(ids, [1, ids.length], 'int32');
  return model.engine.scope('test', () => model.forward({ inputIds })).data();
}

async function logitsIn(folder: string, options = {}): Promise<ArrayLike<number>> {
  const model = await AutoModelForCausalLM.fromPretrained(folder, {
    attune,
    dtype: 'float32',
    ...options,
  });
  const logits = await logitsOf(model);
  model.dispose();
  return logits;
}

describe('tie_word_embeddings with a head in the file', () => {
  it.each(['tiny-llama-tied', 'tiny-qwen2', ...families])(
    '%s: the file is right where the head differs, in one file and in shards',
    async (name) => {
      const untied = await logitsIn(await changed(name, { tie: false, head: 'other' }));
      expect(warnings).toEqual([]);
      const other = await changed(name, { tie: true, head: 'other' });
      expect(await logitsIn(other)).toEqual(untied);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/tie_word_embeddings.*lm_head\.weight is not/);
      const shards = await changed(name, { tie: true, head: 'other', maxShardSize: '20KB' });
      expect(await logitsIn(shards)).toEqual(untied);
    },
  );

  it.each(['tiny-llama-tied', 'tiny-gemma2', 'tiny-gpt2'])(
    '%s: one that equals the embedding, or is its only copy, stays tied',
    async (name) => {
      const tied = await logitsIn(await changed(name, { tie: true, head: 'none' }));
      for (const head of ['embedding', 'alone'] as const) {
        const folder = await changed(name, { tie: true, head });
        const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
        expect(model.config.tieWordEmbeddings).toBe(true);
        expect([...model.root.namedParameters()].map(([n]) => n)).not.toContain('lm_head.weight');
        model.dispose();
        expect(await logitsIn(folder)).toEqual(tied);
      }
      expect(warnings).toEqual([]);
    },
  );

  it('what rounds to the embedding in the storage of the model is tied, as in transformers', async () => {
    const folder = await changed('tiny-llama-tied', { tie: true, head: 'none' });
    await using source = await SafetensorsFile.open(join(folder, 'model.safetensors'));
    const embedding = (await source.read('model.embed_tokens.weight')).data as Float32Array;
    const { shape } = source.info('model.embed_tokens.weight');
    const inHalf = embedding.map((v) => Math.round(v * 1024) / 1024);
    const tensors: TensorToWrite[] = [
      ...source.names
        .filter((name) => !embeddings.test(name))
        .map((name) => ({ ...source.info(name), data: () => source.readBytes(name) })),
      tensorToWrite('model.embed_tokens.weight', inHalf, shape),
      tensorToWrite(
        'lm_head.weight',
        inHalf.map((v) => v * (1 + 2 ** -20)),
        shape,
      ),
    ];
    const nearly = await mkdtemp(join(scratch, 'near-'));
    await cp(folder, nearly, { recursive: true });
    await writeWeights(nearly, tensors);
    for (const [dtype, tied] of [
      ['float32', false],
      ['float16', true],
    ] as const) {
      const model = await AutoModelForCausalLM.fromPretrained(nearly, { attune, dtype });
      expect(model.config.tieWordEmbeddings, dtype).toBe(tied);
      model.dispose();
    }
  });

  it('saved again, the head and its flag are in the files', async () => {
    const other = await changed('tiny-qwen3', { tie: true, head: 'other' });
    const model = await AutoModelForCausalLM.fromPretrained(other, { attune, dtype: 'float32' });
    const saved = await mkdtemp(join(scratch, 'saved-'));
    await model.savePretrained(saved);
    const config = JSON.parse(await readFile(join(saved, 'config.json'), 'utf8'));
    expect(config.tie_word_embeddings).toBe(false);
    warnings.length = 0;
    expect(await logitsIn(saved)).toEqual(await logitsOf(model));
    expect(warnings).toEqual([]);
    model.dispose();
  });

  it.each([{ loadIn4bit: true }, { loadIn8bit: true }])('%j: the head stays whole', async (q) => {
    const options = { quantization: q };
    const untied = await logitsIn(
      await changed('tiny-llama-tied', { tie: false, head: 'other' }),
      options,
    );
    const other = await changed('tiny-llama-tied', { tie: true, head: 'other' });
    expect(await logitsIn(other, options)).toEqual(untied);
  });

  it('a checkpoint with another head is refused by a tied model: it would be lost', async () => {
    const tied = await changed('tiny-llama-tied', { tie: true, head: 'none' });
    const model = await AutoModelForCausalLM.fromPretrained(tied, { attune });
    const other = await changed('tiny-llama-tied', { tie: false, head: 'other' });
    await expect(loadModelWeights(model, other)).rejects.toThrow(/CHECKPOINT_MISMATCH.*lm_head/);
    await loadModelWeights(
      model,
      await changed('tiny-llama-tied', { tie: true, head: 'embedding' }),
    );
    model.dispose();
  });

  it('a classifier leaves any head out, without a word', async () => {
    const other = await changed('tiny-llama-tied', { tie: true, head: 'other' });
    const model = await AutoModelForSequenceClassification.fromPretrained(other, { attune });
    expect(model.numLabels).toBe(2);
    expect(warnings).toEqual([]);
    model.dispose();
  });
});
