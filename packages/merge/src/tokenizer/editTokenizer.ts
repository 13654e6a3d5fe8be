import { join } from 'node:path';
import { AttuneError, Tokenizer } from '@attune/core';
import { readJsonFile, readJsonObject, readText } from '@attune/core/io';
import type { AddedToken } from '@attune/core/text';
import { formatJson, type JsonValue, parseJson, plainJson } from '@attune/core/util';
import type { OutputFile } from '../plan/mergePlan.js';
import { listTokens, type NewToken, type OutputVocabulary } from './outputVocabulary.js';
import { tokenizerFiles } from './tokenizerFiles.js';

type JsonObject = ReadonlyMap<string, JsonValue>;

/** Files of a tokenizer that hold its vocabulary once more, for other programs. */
const OTHER_VOCABULARIES = /^(vocab\.\w+|merges\.txt|.*\.model|.*\.tiktoken|tekken\.json)$/;

/**
 * The files of the owner's tokenizer with the tokens of the output. Nothing is built anew: what is
 * not about these tokens stays as it is written, and files that do not change are copied.
 *
 * @throws MERGE_TOKENIZER where the tokens would not have their ids when the files are read
 */
export async function editTokenizer(vocabulary: OutputVocabulary): Promise<OutputFile[]> {
  const { owner, added, promoted, dropped } = vocabulary;
  const { folder } = owner.tokens;
  const files = await tokenizerFiles(folder);
  if (added.length + promoted.length + dropped.length === 0) return files;
  const json = parse(await readTokenizerJson(folder));
  const tokenizer = edited(json, vocabulary);
  const config = await readJsonFile(join(folder, 'tokenizer_config.json'), { optional: true });
  const newConfig =
    config &&
    editedConfig(config.source as JsonObject, vocabulary, impliedTokens(json, vocabulary));
  const names = await readJsonFile(join(folder, 'special_tokens_map.json'), { optional: true });
  const newNames = names && withoutNames(names.source as JsonObject, new Set(dropped));
  const list = await readJsonFile(join(folder, 'added_tokens.json'), { optional: true });
  const newList = list && editedList(list.source as JsonObject, vocabulary);
  const written = new Map<string, JsonObject | null>([
    ['tokenizer.json', tokenizer],
    ['tokenizer_config.json', newConfig],
    ['special_tokens_map.json', newNames],
    ['added_tokens.json', newList],
  ]);
  await check(vocabulary, tokenizer, newConfig, newNames, newList);
  return files
    .filter(({ name }) => dropped.length === 0 || !OTHER_VOCABULARIES.test(name))
    .map((file) => {
      const json = written.get(file.name);
      return json ? { name: file.name, contents: `${formatJson(json)}\n` } : file;
    });
}

/** The largest published ones have some 40 MB. */
const MAX_BYTES = 2 ** 28;

const readTokenizerJson = (folder: string): Promise<string> =>
  readText(join(folder, 'tokenizer.json'), {
    code: 'TOKENIZER_INVALID',
    remedy: 'Fetch or save the tokenizer again.',
    maxBytes: MAX_BYTES,
  });

const parse = (text: string): JsonObject => parseJson(text) as JsonObject;

/** tokenizer.json with other added tokens, and without the tokens that have no row. */
function edited(json: JsonObject, vocabulary: OutputVocabulary): JsonObject {
  const { added, promoted, dropped } = vocabulary;
  const gone = new Set(dropped);
  const before = (json.get('added_tokens') ?? []) as readonly JsonObject[];
  const kept = before.filter((token) => !gone.has(token.get('content') as string));
  const further = [...impliedTokens(json, vocabulary), ...promoted, ...added];
  const listed = [...kept, ...further.map(({ id, token }) => tokenJson(token, id))];
  const id = (token: JsonObject) => Number(plainJson(token.get('id') ?? null));
  const result = new Map(json);
  result.set(
    'added_tokens',
    listed.sort((a, b) => id(a) - id(b)),
  );
  const model = json.get('model') as JsonObject;
  const words = wordsOf(model);
  if (dropped.some((token) => words.has(token)))
    result.set('model', withoutTokens(model, gone, vocabulary));
  return result;
}

/** The vocabulary of a model, without ids: an object, or a list of tokens with their scores. */
function wordsOf(model: JsonObject): ReadonlySet<string> {
  const vocab = model.get('vocab');
  if (vocab instanceof Map) return new Set(vocab.keys());
  const items = (vocab ?? []) as readonly JsonValue[];
  return new Set(items.map((item) => (Array.isArray(item) ? item[0] : item) as string));
}

/**
 * Tokens that tokenizer.json does not have: other files or the tokenizer's class name them, and
 * they are added behind those that it has. What is added now stands behind them.
 */
function impliedTokens(json: JsonObject, { owner, ids }: OutputVocabulary): NewToken[] {
  const listed = (json.get('added_tokens') ?? []) as readonly JsonObject[];
  const known = new Set(listed.map((token) => token.get('content')));
  const words = wordsOf(json.get('model') as JsonObject);
  return [...owner.tokens.tokenizer.addedTokens].flatMap(([id, token]) => {
    const { content } = token;
    const isNew = ids.get(content) === id && !known.has(content) && !words.has(content);
    return isNew ? [{ id, token }] : [];
  });
}

/** A BPE without tokens, and without the merges that they take part in. */
function withoutTokens(
  model: JsonObject,
  gone: ReadonlySet<string>,
  { owner, dropped }: OutputVocabulary,
): JsonObject {
  if (owner.tokens.kind !== 'BPE')
    throw new AttuneError(
      'MERGE_TOKENIZER',
      `${owner.key}: ${listTokens(dropped)} of its tokenizer have no row in its embedding of ${owner.numRows} rows, and they cannot be taken out of a ${owner.tokens.kind}.`,
      { remedy: 'Save the model with an embedding that has a row for each token.' },
    );
  const merges = (model.get('merges') ?? []) as readonly JsonValue[];
  const parts = (merge: JsonValue) =>
    typeof merge === 'string' ? merge.split(' ') : (merge as readonly string[]);
  const result = new Map(model);
  const vocab = model.get('vocab') as JsonObject;
  result.set('vocab', new Map([...vocab].filter(([token]) => !gone.has(token))));
  result.set(
    'merges',
    merges.filter((merge) => {
      const [left = '', right = ''] = parts(merge);
      return !gone.has(left) && !gone.has(right) && !gone.has(left + right);
    }),
  );
  return result;
}

/** tokenizer_config.json, which may list added tokens once more. */
function editedConfig(
  config: JsonObject,
  { added, promoted, dropped }: OutputVocabulary,
  implied: readonly NewToken[],
): JsonObject {
  const gone = new Set(dropped);
  const result = new Map(withoutNames(config, gone));
  const decoder = config.get('added_tokens_decoder');
  if (!(decoder instanceof Map)) return result;
  const kept = [...(decoder as JsonObject)].filter(
    ([, token]) => !(token instanceof Map && gone.has(token.get('content') as string)),
  );
  const further = [...implied, ...promoted, ...added].map(({ id, token }): [string, JsonObject] => [
    String(id),
    tokenJson(token),
  ]);
  result.set(
    'added_tokens_decoder',
    new Map([...kept, ...further].sort(([a], [b]) => Number(a) - Number(b))),
  );
  return result;
}

/** Without what is called by a token that is gone: its name would add it again. */
function withoutNames(json: JsonObject, gone: ReadonlySet<string>): JsonObject {
  const isGone = (value: JsonValue) =>
    gone.has((value instanceof Map ? value.get('content') : value) as string);
  const kept = [...json].flatMap(([key, value]): [string, JsonValue][] => {
    if (key.endsWith('_token') && isGone(value)) return [];
    const isList = Array.isArray(value) && key.endsWith('special_tokens');
    return [[key, isList ? value.filter((item: JsonValue) => !isGone(item)) : value]];
  });
  return new Map(kept);
}

/** added_tokens.json: ids by text. */
function editedList(list: JsonObject, { added, promoted, dropped }: OutputVocabulary): JsonObject {
  const gone = new Set(dropped);
  const ids = [...promoted, ...added].map(({ id, token }): [string, JsonValue] => [
    token.content,
    number(id),
  ]);
  return new Map([...[...list].filter(([token]) => !gone.has(token)), ...ids]);
}

const number = (value: number): JsonValue => parseJson(String(value));

function tokenJson(token: AddedToken, id?: number): JsonObject {
  const entries: [string, JsonValue][] = [
    ['content', token.content],
    ['single_word', token.singleWord],
    ['lstrip', token.lstrip],
    ['rstrip', token.rstrip],
    ['normalized', token.normalized],
    ['special', token.special],
  ];
  return new Map(id === undefined ? entries : [['id', number(id)], ...entries]);
}

type Plain = Record<string, unknown>;
const plain = (json: JsonObject | null) => json && (plainJson(json) as Plain);

/** Reads what is to be written as a tokenizer, and looks whether each token has its id. */
async function check(
  { owner, ids, numTokens }: OutputVocabulary,
  tokenizer: JsonObject,
  config: JsonObject | null,
  names: JsonObject | null,
  list: JsonObject | null,
): Promise<void> {
  const { folder } = owner.tokens;
  const read = new Tokenizer({
    folder,
    tokenizer: plain(tokenizer)!,
    config: plain(config) ?? {},
    specialTokensMap: plain(names),
    addedTokens: plain(list),
    modelConfig: await readJsonObject(join(folder, 'config.json'), { optional: true }),
    chatTemplate: null,
  });
  const wrong = [...ids].filter(([token, id]) => read.tokenToId(token) !== id);
  if (wrong.length === 0 && read.vocabSize === numTokens) return;
  throw new AttuneError(
    'MERGE_TOKENIZER',
    wrong.length > 0
      ? `${owner.key}: its tokenizer cannot take further tokens: ${listTokens(wrong.map(([token]) => token))} would have other ids when it is read.`
      : `${owner.key}: its tokenizer would have ${read.vocabSize} tokens when it is read, expected ${numTokens}.`,
    { remedy: 'Use the tokenizer of another model: tokenizer: { source: ... }.' },
  );
}
