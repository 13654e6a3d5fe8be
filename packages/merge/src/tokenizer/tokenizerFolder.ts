import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AttuneError, AutoTokenizer, type Tokenizer } from '@attune/core';
import { isPlainObject } from '@attune/core/util';

type Json = Readonly<Record<string, unknown>>;

/** The tokenizer of a model folder, read. */
export interface TokenizerFolder {
  readonly folder: string;
  readonly tokenizer: Tokenizer;
  /** tokenizer.json */
  readonly json: Json;
  /** Kind of its model: BPE, Unigram, WordPiece, WordLevel. */
  readonly kind: string;
  /** Every token with its id, added ones too, in the order of ids. */
  readonly vocabulary: ReadonlyMap<string, number>;
}

/**
 * Opens the tokenizer of a folder, with the ids that transformers gives its tokens.
 *
 * @throws TOKENIZER_MISSING where there is none, or one without tokenizer.json; TOKENIZER_INVALID,
 *   CONFIG_INVALID where a file is broken
 */
export async function openTokenizer(folder: string): Promise<TokenizerFolder> {
  const names: string[] = await readdir(folder).catch(() => []);
  if (!names.includes('tokenizer.json')) throw missing(folder, names);
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  const json = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')) as Json;
  const vocabulary = new Map<string, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const token = tokenizer.idToToken(id);
    if (token !== null) vocabulary.set(token, id);
  }
  return { folder, tokenizer, json, kind: kindOf(json), vocabulary };
}

function missing(folder: string, names: readonly string[]): AttuneError {
  const slow = names.find((name) => /^(tokenizer\.model|spiece\.model|vocab\.\w+)$/.test(name));
  return new AttuneError(
    'TOKENIZER_MISSING',
    slow === undefined
      ? `${folder} has no tokenizer`
      : `${folder} has ${slow} and no tokenizer.json, which names all tokens with their ids`,
    {
      remedy:
        'Save a tokenizer.json from Python: AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder).',
    },
  );
}

/** The kind, also of old files that do not name it. */
function kindOf({ model }: Json): string {
  if (!isPlainObject(model)) return 'unknown';
  if (typeof model.type === 'string') return model.type;
  if (model.merges !== undefined) return 'BPE';
  return Array.isArray(model.vocab) ? 'Unigram' : 'WordPiece';
}

/** Everything that ids depend on, in files. */
const FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
];

/** The same for folders whose tokenizers have the same files. */
export async function tokenizerHash(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of FILES) {
    const path = join(folder, name);
    // A pipe or a device would be waited for.
    const found = await stat(path).catch(() => null);
    const bytes = found?.isFile() ? await readFile(path).catch(() => null) : null;
    hash.update(`${name} ${bytes?.length ?? (found ? 'no file' : 'none')}\n`);
    if (bytes !== null) hash.update(bytes);
  }
  return hash.digest('hex');
}
