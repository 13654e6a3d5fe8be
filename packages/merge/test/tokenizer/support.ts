import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from 'vitest';
import { parseMergeConfig } from '../../src/config/index.js';
import type { MergeConfig, ModelReference } from '../../src/config/mergeConfig.js';
import { builtinMethods } from '../../src/methods/index.js';
import type { OutputFile } from '../../src/plan/mergePlan.js';

/** Parts of a small tokenizer.json. */
export interface TinyTokenizer {
  /** Ids by position. */
  readonly vocab: readonly string[];
  readonly merges?: readonly string[];
  /** Behind the vocabulary. */
  readonly added?: readonly (string | (Record<string, unknown> & { content: string }))[];
  /** Further fields of tokenizer.json. */
  readonly json?: Record<string, unknown>;
}

export const letters = [...'abcdefgh'];

/** A BPE without byte level, whose words end at spaces. */
export function tinyTokenizer({ vocab, merges = [], added = [], json = {} }: TinyTokenizer) {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added.map((token, i) => {
      const given = typeof token === 'string' ? { content: token } : token;
      const place = vocab.indexOf(given.content);
      return {
        id: place >= 0 ? place : vocab.length + i,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
        ...given,
      };
    }),
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
      merges,
    },
    ...json,
  };
}

let scratch: Promise<string> | undefined;

/** A folder with these files; what is no text is written as JSON. */
export async function folderOf(files: Record<string, unknown>): Promise<string> {
  scratch ??= mkdtemp(join(tmpdir(), 'attune-merge-tokenizer-'));
  const folder = await mkdtemp(join(await scratch, 'model-'));
  for (const [name, value] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, typeof value === 'string' ? value : JSON.stringify(value, null, 2));
  }
  return folder;
}

afterAll(async () => {
  if (scratch) await rm(await scratch, { recursive: true });
  scratch = undefined;
});

/** Writes what a merge would write. */
export async function written(files: readonly OutputFile[]): Promise<string> {
  const folder = await folderOf({});
  for (const { name, contents } of files) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    if (typeof contents === 'string') await writeFile(path, contents);
    else await copyFile(contents.copyOf, path);
  }
  return folder;
}

export const reference = (path: string): ModelReference => ({
  path,
  revision: null,
  adapter: null,
  key: path,
});

/** A config of which nothing but some parts is read. */
export const configWith = (parts: Partial<MergeConfig>): MergeConfig => ({
  ...parseMergeConfig(
    { mergeMethod: 'linear', models: [{ model: 'a', parameters: { weight: 1 } }] },
    { methods: builtinMethods },
  ),
  ...parts,
});
