import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoTokenizer } from '@attune/core';
import { WeightFolder } from '@attune/core/io';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { executeMerge } from '../../src/execute/index.js';
import { planMerge } from '../../src/mergeModels.js';
import { builtinMethods } from '../../src/methods/index.js';

// The three models of mergekit's fixtures, whose vocabularies differ.

const root = fileURLToPath(
  new URL('../../../../parity/fixtures/merge-tokenizer/', import.meta.url),
);
const models = [0.5, 0.3, 0.2].map((weight, i) => ({
  model: root + ['first', 'second', 'third'][i]!,
  parameters: { weight },
}));
const config = { mergeMethod: 'linear', baseModel: `${root}first`, models };

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-merge-tokens-'));
});
afterAll(() => rm(scratch, { recursive: true }));

test('a merge with the union of three tokenizers, written', async () => {
  const plan = await planMerge({
    ...config,
    tokenizer: { source: 'union', padToMultipleOf: 16 },
    chatTemplate: 'chatml',
  });
  const tables = plan.tasks.filter(({ name }) => /embed_tokens|lm_head/.test(name));
  expect(tables.map(({ shape }) => shape)).toEqual([
    [64, 8],
    [64, 8],
  ]);
  expect(tables[0]!.inputs.map(({ source }) => source.kind)).toEqual(['rows', 'rows', 'rows']);
  expect(plan.outConfig).toMatchObject({ vocab_size: 64 });
  expect(plan.tokenizerChanges.join('\n')).toContain('15 tokens added to the tokenizer of');
  const out = join(scratch, 'out');
  await executeMerge(plan, {
    outputDir: out,
    workers: 0,
    methods: builtinMethods,
    maxShardSize: '5GB',
    overwrite: false,
    verify: true,
  });
  const tokenizer = await AutoTokenizer.fromPretrained(out);
  expect(tokenizer.vocabSize).toBe(62);
  expect(tokenizer.chatTemplate).toContain('<|im_start|>');
  await using weights = await WeightFolder.open(out);
  expect(weights.location('lm_head.weight').shape).toEqual([64, 8]);
  expect(existsSync(join(out, 'chat_template.jinja'))).toBe(true);
});

test('the vocabulary of the second model: ids in config.json follow their tokens', async () => {
  const plan = await planMerge({ ...config, tokenizerSource: `${root}second` });
  const json = (name: string) => JSON.parse(readFileSync(root + name, 'utf8'));
  const { added_tokens: tokens } = json('second/tokenizer.json') as {
    added_tokens: { id: number; content: string }[];
  };
  const idOf = (content: string) => tokens.find((token) => token.content === content)!.id;
  expect(json('first/config.json').bos_token_id).not.toBe(idOf('<s>'));
  expect(plan.outConfig).toMatchObject({
    bos_token_id: idOf('<s>'),
    eos_token_id: idOf('</s>'),
    vocab_size: 47,
  });
  expect(plan.warnings.join('\n')).toContain('config.json: bos_token_id was');
});

test('what is wrong with a tokenizer is one of the problems of a plan', async () => {
  const wrong = planMerge({
    ...config,
    tokenizer: { source: 'union', tokens: { '<x>': { source: `${root}third` } } },
    chatTemplate: 'exaone',
  });
  await expect(wrong).rejects.toThrow(
    /chat_template is "exaone".*\n.*token "<x>": .*third does not have it/,
  );
});
