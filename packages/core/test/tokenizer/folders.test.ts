import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoTokenizer } from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture, fixtureJson, hasStories, stories, storiesNote } from '../models/support.js';

interface Case {
  readonly base: string;
  readonly kept: number | null;
  readonly files: Record<string, unknown>;
  readonly class: string;
  readonly ids: number[][];
  readonly added: Record<string, string>;
  readonly special: Record<string, string | null>;
  readonly text: string[];
}

const { texts, cases } = fixtureJson('row321-tokenizer-folders.json') as {
  texts: string[];
  cases: Case[];
};

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-folders-'));
});
afterAll(() => rm(scratch, { recursive: true }));

/** A folder with the tokenizer.json of a fixture and other files. */
async function folderOf(
  base: string,
  files: Record<string, unknown>,
  kept: number | null = null,
): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'folder-'));
  const path = fixture(`tokenizers/${base}/tokenizer.json`);
  const tokenizer = JSON.parse(await readFile(path, 'utf8'));
  if (kept !== null) tokenizer.added_tokens = tokenizer.added_tokens.slice(0, kept);
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  for (const [name, value] of Object.entries(files))
    await writeFile(join(folder, name), JSON.stringify(value));
  return folder;
}

describe('row 321: folders give the ids of AutoTokenizer', () => {
  it.each(
    cases.map((c, i) => [`${i} ${c.class}: ${JSON.stringify(c.files).slice(0, 80)}`, c] as const),
  )('%s', async (_, expected) => {
    const folder = await folderOf(expected.base, expected.files, expected.kept);
    const tokenizer = await AutoTokenizer.fromPretrained(folder);
    expect(texts.map((text) => tokenizer.encode(text))).toEqual(expected.ids);
    const added = [...tokenizer.addedTokenIds].sort((a, b) => a - b);
    expect(added.map((id) => [String(id), tokenizer.idToToken(id)])).toEqual(
      Object.entries(expected.added),
    );
    const { bosToken, eosToken, padToken } = tokenizer;
    expect({ bos_token: bosToken, eos_token: eosToken, pad_token: padToken }).toEqual(
      expected.special,
    );
    expect(expected.ids.map((ids) => tokenizer.decode(ids))).toEqual(expected.text);
    // Saved without config.json, as beside an adapter, it stays the same.
    const saved = join(folder, 'saved');
    await mkdir(saved);
    await tokenizer.savePretrained(saved);
    const again = await AutoTokenizer.fromPretrained(saved);
    expect(texts.map((text) => again.encode(text))).toEqual(expected.ids);
  });
});

describe.skipIf(!hasStories)(`LlamaTokenizer, as stories260k says${storiesNote}`, () => {
  it('is built as transformers builds it: no space is put behind a special token', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(stories);
    expect(tokenizer.encode('a</s>\nb', { addSpecialTokens: false })).toEqual([261, 2, 13, 430]);
  });
});

describe('tokens that files name wrongly', () => {
  it.each([
    ['tokenizer_config.json', { pad_token: 7 }, /tokenizer_config\.json: pad_token is 7/],
    ['tokenizer_config.json', { extra_special_tokens: 'x' }, /extra_special_tokens is "x"/],
    ['tokenizer_config.json', { added_tokens_decoder: { a: { content: 'x' } } }, /decoder\.a/],
    ['tokenizer_config.json', { added_tokens_decoder: { 7: 'x' } }, /decoder\.7 is "x"/],
    ['added_tokens.json', { x: -1 }, /added_tokens\.json: x is -1/],
    ['added_tokens.json', { x: '7' }, /added_tokens\.json: x is "7"/],
    ['special_tokens_map.json', { eos_token: [] }, /special_tokens_map\.json: eos_token is \[\]/],
  ])('%s %j', async (name, value, message) => {
    const folder = await folderOf('bpe-llama3', { [name]: value });
    await expect(AutoTokenizer.fromPretrained(folder)).rejects.toMatchObject({
      code: 'TOKENIZER_INVALID',
      message: expect.stringMatching(message),
    });
  });
});
