import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AutoTokenizer } from '@attune/core';
import { WeightFolder } from '@attune/core/io';
import { ChatTemplate } from '@attune/core/text';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TokenizerConfig, TokenSource } from '../../src/config/mergeConfig.js';
import type { StoredTensor, TensorSource } from '../../src/contract/tensorTask.js';
import { FloatFiles } from '../../src/execute/fileElements.js';
import { OpenFiles } from '../../src/execute/openFiles.js';
import { sourceElements } from '../../src/execute/sourceElements.js';
import { MergeProblems } from '../../src/problems.js';
import { namedChatTemplates } from '../../src/tokenizer/chatTemplates.js';
import { outputTokenizer } from '../../src/tokenizer/outputTokenizer.js';
import { readSource } from './readSource.js';
import { configWith, reference, written } from './support.js';

const root = fileURLToPath(
  new URL('../../../../parity/fixtures/merge-tokenizer/', import.meta.url),
);
const json = (name: string) => JSON.parse(readFileSync(root + name, 'utf8'));

interface RawToken {
  source?: string | { kind: string; model?: string; token?: string; token_id?: number };
  force?: boolean;
}

interface Case {
  readonly name: string;
  readonly config: {
    merge_method: 'linear' | 'slerp';
    base_model: string;
    models: { model: string; parameters?: { weight: number } }[];
    parameters?: { t: number };
    tokenizer_source?: string;
    tokenizer?: {
      source: string;
      tokens?: Record<string, RawToken>;
      pad_to_multiple_of?: number;
    };
  };
  readonly numRows: number;
  readonly vocabSize: number;
  readonly vocabulary: string[];
  readonly added: { content: string }[];
  readonly pieces: string[][];
}

const { texts, cases } = json('cases.json') as { texts: string[]; cases: Case[] };

const tables = { embed: 'model.embed_tokens.weight', head: 'lm_head.weight' };
const stored = new Map<string, StoredTensor>();
const rows = new Map<string, Float32Array>();
beforeAll(async () => {
  for (const model of ['first', 'second', 'third']) {
    await using weights = await WeightFolder.open(root + model);
    for (const name of Object.values(tables))
      stored.set(`${model} ${name}`, weights.location(name));
  }
  const file = readFileSync(`${root}rows.safetensors`);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  for (const [name, { data_offsets: at }] of Object.entries(header))
    if (at) {
      const bytes = file.subarray(8 + length + at[0], 8 + length + at[1]);
      rows.set(name, new Float32Array(Uint8Array.from(bytes).buffer));
    }
});

function tokenSource({ source, force = false }: RawToken): TokenSource {
  if (source === undefined) return { source: null, force };
  if (typeof source === 'string')
    return { source: { kind: 'model', model: reference(source) }, force };
  if (source.kind === 'zero') return { source: { kind: 'zero' }, force };
  const { model, token = null, token_id: tokenId = null } = source;
  return { source: { kind: 'modelToken', model: reference(model!), token, tokenId }, force };
}

function tokenizerOf({ config }: Case): TokenizerConfig {
  const {
    source,
    tokens = {},
    pad_to_multiple_of: pad,
  } = config.tokenizer ?? {
    source: config.tokenizer_source!,
  };
  return {
    source: source === 'union' || source === 'base' ? source : reference(source),
    tokens: new Map(Object.entries(tokens).map(([token, raw]) => [token, tokenSource(raw)])),
    padToMultipleOf: pad ?? null,
  };
}

/** Spherical interpolation, by the formula: of tables that are far from parallel. */
function slerp(a: Float32Array, b: Float32Array, t: number): Float64Array {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
  const angle = Math.acos(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)));
  const [p, q] = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map((s) => s / Math.sin(angle));
  return Float64Array.from(a, (v, i) => p! * v + q! * b[i]!);
}

const first = json('first/tokenizer.json') as {
  model: { vocab: Record<string, number> };
  added_tokens: { content: string }[];
};

/**
 * Whether mergekit takes a row without a token for that of a token that it has just made: with
 * `source: base` it adds tokens to the very tokenizer that says which rows the base has. Without
 * such rows it ends with a KeyError. Here the config's row counts.
 */
const isMade = ({ name }: Case, token: string): boolean =>
  name === 'linear-tokens-base' &&
  !Object.hasOwn(first.model.vocab, token) &&
  !first.added_tokens.some(({ content }) => content === token);

/** As a merge reads it. */
function readInPieces(source: TensorSource, size: number, length: number): Float32Array {
  const files = new OpenFiles('r');
  const reader = sourceElements(source, new FloatFiles(files), null);
  const out = new Float32Array(length);
  for (let at = 0; at < length; at += size) reader.read(at, out.subarray(at, at + size));
  files.close();
  return out;
}

/** The mean by weights that add up to 1, with the roundings of torch. */
function weightedMean(values: readonly Float32Array[], given: readonly number[]): Float32Array {
  const weights = given.map(Math.fround);
  const sum = weights.reduce((a, b) => Math.fround(a + b), 0);
  const out = new Float32Array(values[0]!.length);
  for (const [k, list] of values.entries())
    for (let i = 0; i < out.length; i++) out[i] = out[i]! + weights[k]! * list[i]!;
  return out.map((value) => value / sum);
}

describe('tokenizers and rows are those of mergekit', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (name, expected) => {
    const { config } = expected;
    const listed = config.models.map(({ model }) => model);
    const keys = [config.base_model, ...listed.filter((key) => key !== config.base_model)];
    const models = keys.map((key) => ({
      key,
      folder: root + key,
      numRows: stored.get(`${key} ${tables.embed}`)!.shape[0]!,
    }));
    const problems = new MergeProblems();
    const tokenizer = tokenizerOf(expected);
    const output = await outputTokenizer(configWith({ tokenizer }), models, problems);
    expect(problems.all).toEqual([]);

    const folder = await written(output.files);
    const read = await AutoTokenizer.fromPretrained(folder);
    const ids = expected.vocabulary.map((token) => read.tokenToId(token)!);
    expect([...ids].sort((a, b) => a - b)).toEqual(ids.map((_, i) => i));
    expect(read.vocabSize).toBe(ids.length);
    const added = (
      JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8')).added_tokens as {
        content: string;
      }[]
    ).map(({ id, ...token }: { content: string; id?: number }) => token);
    const byContent = (list: { content: string }[]) =>
      list.sort((a, b) => (a.content < b.content ? -1 : 1));
    expect(byContent(added)).toEqual(byContent(expected.added));
    expect(texts.map((text) => read.encode(text).map((id) => read.idToToken(id)))).toEqual(
      expected.pieces,
    );

    // A vocabulary that stays one model's keeps its padding; mergekit takes it away.
    const own =
      tokenizer.source === 'base' && !tokenizer.padToMultipleOf && tokenizer.tokens.size === 0;
    const numRows =
      own || typeof tokenizer.source !== 'string' ? output.rows!.numRows : expected.numRows;
    expect(output.rows!.numRows).toBe(numRows);
    expect(numRows).toBeGreaterThanOrEqual(expected.numRows);
    for (const [table, tensorName] of Object.entries(tables)) {
      const inputs = listed.map((model) => ({
        model,
        tensor: stored.get(`${model} ${tensorName}`)!,
      }));
      const sources = output.rows!.sourcesOf(inputs, config.base_model, problems);
      expect(problems.all).toEqual([]);
      const values = await Promise.all(sources.map(readSource));
      for (const list of values) expect(list).toHaveLength(numRows * 8);
      for (const [k, source] of sources.entries())
        for (const size of [3, 8, 21, numRows * 8])
          expect(readInPieces(source, size, numRows * 8)).toEqual(values[k]);
      const isSlerp = config.merge_method === 'slerp';
      const merged = isSlerp
        ? slerp(values[0]!, values[1]!, config.parameters!.t)
        : weightedMean(
            values,
            config.models.map(({ parameters }) => parameters!.weight),
          );
      const theirs = rows.get(`${name}.${table}`)!;
      for (const [i, id] of ids.entries()) {
        if (isMade(expected, expected.vocabulary[i]!)) continue;
        const [mine, other] = [
          [...merged.slice(id * 8, id * 8 + 8)],
          [...theirs.slice(i * 8, i * 8 + 8)],
        ];
        // torch's slerp adds up its dot products in float32.
        if (isSlerp) for (const [j, x] of mine.entries()) expect(x).toBeCloseTo(other[j]!, 5);
        else expect(mine, expected.vocabulary[i]!).toEqual(other);
      }
      const padding = rows.get(`${name}.${table}.padding`);
      if (padding)
        for (let id = ids.length; id < numRows; id++)
          for (let j = 0; j < 8; j++) expect(merged[id * 8 + j]).toBeCloseTo(padding[j]!, 6);
    }
  });
});

describe('named chat templates render what those of mergekit render', () => {
  const { conversations, cases: rendered } = json('templates.json') as {
    conversations: { role: string; content: string }[][];
    cases: {
      name: string;
      conversation: number;
      addGenerationPrompt: boolean;
      text: string | null;
    }[];
  };
  it.each(Object.keys(namedChatTemplates))('%s', (wanted) => {
    const template = new ChatTemplate(namedChatTemplates[wanted]!);
    const own = rendered.filter(({ name }) => name === wanted);
    expect(own).toHaveLength(conversations.length * 2);
    for (const { conversation, addGenerationPrompt, text } of own) {
      const render = () =>
        template.render(
          conversations[conversation]!,
          { bos_token: '<s>', eos_token: '</s>' },
          { addGenerationPrompt },
        );
      if (text === null) expect(render).toThrow('alternate');
      else expect(render()).toBe(text);
    }
  });
});
