import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { type RawConfig, readJsonFile } from '@attune/core/io';
import { formatJson, type JsonValue, parseJson, sameValue } from '@attune/core/util';
import type { MergeConfig, TokenizerConfig } from '../config/mergeConfig.js';
import type { TensorSource } from '../contract/tensorTask.js';
import type { OutputFile } from '../plan/mergePlan.js';
import type { ConfigPath, MergeProblems } from '../problems.js';
import { chooseChatTemplate } from './chatTemplates.js';
import { editTokenizer, textOf } from './editTokenizer.js';
import {
  listTokens,
  type OutputVocabulary,
  ownVocabulary,
  unionVocabulary,
  type VocabularyModel,
} from './outputVocabulary.js';
import { translateIds } from './specialIds.js';
import { BESIDE, CHAT_TEMPLATES, tokenizerFiles } from './tokenizerFiles.js';
import { openTokenizer, type TokenizerFolder, tokenizerHash } from './tokenizerFolder.js';
import { alignTensor, type RowRules, type VocabularyTensor } from './tokenRows.js';

/** A model of the merge, for its tokenizer. */
export interface TokenizerModel {
  /** As the config names it. */
  readonly key: string;
  readonly folder: string;
  /** Rows of its embedding. */
  readonly numRows: number;
}

/** Embeddings and heads of the output, row by row. */
export interface VocabularyRows {
  /** Rows of each such tensor; `vocab_size` of config.json. */
  readonly numRows: number;
  /**
   * Where the rows of one tensor come from: one source for each input.
   *
   * @param inputs models that have the tensor, in the order of the task
   * @param base key of the tensor's base; null: none
   */
  sourcesOf(
    inputs: readonly VocabularyTensor[],
    base: string | null,
    problems: MergeProblems,
  ): readonly TensorSource[];
}

/** What the output has of tokenizers. */
export interface OutputTokenizer {
  /** Tokenizer, chat template, generation_config.json. */
  readonly files: readonly OutputFile[];
  /** null: no tokenizer is built, tables of tokens are merged as they are. */
  readonly rows: VocabularyRows | null;
  /** What a user should know, a sentence each; `rows.sourcesOf` may add to it. */
  readonly warnings: readonly string[];
  /** What became of the vocabulary, a sentence each, for the model card. */
  readonly changes: readonly string[];
  /** config.json with ids of tokens in the output's vocabulary. */
  withTokenIds(config: RawConfig): RawConfig;
}

/**
 * The tokenizer of the output, as `tokenizer`, `tokenizer_source` and `chat_template` of a config
 * say: the vocabulary, the files, and for each model the rows of its embeddings.
 *
 * Without `tokenizer` the files of the first model are carried over. With it the vocabulary is that
 * of the first model ("base"), of a named one, or the union of all. Rows behind the tokens stay
 * where the vocabulary is that of one model; where tokens are added or `pad_to_multiple_of` is
 * given there are as many rows as mergekit makes.
 *
 * @param models the base of the merge (or its first model) before the others
 * @param problems receives what is wrong; the result is then not to be used
 */
export async function outputTokenizer(
  config: MergeConfig,
  models: readonly TokenizerModel[],
  problems: MergeProblems,
): Promise<OutputTokenizer> {
  try {
    return await make(config, models, problems);
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    problems.add({ message: error.description, remedy: error.remedy ?? 'Mend the file.' });
    return { files: [], rows: null, warnings: [], changes: [], withTokenIds: (json) => json };
  }
}

async function make(
  config: MergeConfig,
  models: readonly TokenizerModel[],
  problems: MergeProblems,
): Promise<OutputTokenizer> {
  const folders = models.map(({ folder }) => folder);
  const template = await chooseChatTemplate(config.chatTemplate, folders, problems);
  const warnings: string[] = [];
  if (config.chatTemplate === 'auto' && template === null)
    warnings.push('chat_template is auto, and no model has a chat template: none is written.');
  const built = config.tokenizer && (await build(config, models, problems, warnings));
  const carried = await tokenizerFiles(folders[0]!);
  if (!built)
    return {
      files: await withChatTemplate(carried, template, warnings),
      rows: null,
      warnings,
      changes: [],
      withTokenIds: (json) => json,
    };
  const translation = {
    from: built.first,
    ids: built.vocabulary.ids,
    owner: built.vocabulary.owner.tokens,
  };
  const withTokenIds = (json: RawConfig, file = 'config.json') =>
    translateIds(json, translation, file, warnings);
  // How a model generates and sees is that of the model whose config.json the output has.
  const made = built.files.filter(({ name }) => !BESIDE.test(name));
  const beside = carried.filter(({ name }) => BESIDE.test(name) && name !== GENERATION);
  const files = [
    ...(await withChatTemplate(made, template, warnings)),
    ...beside,
    ...(await generationFile(folders[0]!, carried, withTokenIds)),
  ];
  return { files, rows: built.rows, warnings, changes: built.changes, withTokenIds };
}

const GENERATION = 'generation_config.json';

/** generation_config.json of the model whose config.json the output has. */
async function generationFile(
  folder: string,
  carried: readonly OutputFile[],
  withTokenIds: (json: RawConfig, file: string) => RawConfig,
): Promise<OutputFile[]> {
  const file = carried.find(({ name }) => name === GENERATION);
  if (!file) return [];
  const { value, source } = await readJsonFile(join(folder, GENERATION));
  const changed = withTokenIds(value, GENERATION);
  if (changed === value) return [file];
  return [{ name: GENERATION, contents: `${formatJson(changed, { like: source })}\n` }];
}

/**
 * The same files with this chat template, where transformers 5 reads it: in chat_template.jinja,
 * and not in tokenizer_config.json nor under other names, with which it could disagree.
 */
async function withChatTemplate(
  files: readonly OutputFile[],
  template: string | null,
  warnings: string[],
): Promise<readonly OutputFile[]> {
  if (template === null) return files;
  const named = files.filter(({ name }) => name.startsWith('additional_chat_templates/'));
  if (named.length > 0)
    warnings.push(
      `chat_template replaces all templates: ${named.map(({ name }) => name).join(', ')} ${named.length === 1 ? 'is' : 'are'} left out.`,
    );
  const kept: OutputFile[] = [];
  for (const file of files) {
    if (CHAT_TEMPLATES.test(file.name)) continue;
    kept.push(file.name === 'tokenizer_config.json' ? await withoutTemplate(file) : file);
  }
  return [...kept, { name: 'chat_template.jinja', contents: template }];
}

async function withoutTemplate(file: OutputFile): Promise<OutputFile> {
  const json = parseJson(await textOf(file), { nonFinite: true });
  if (!(json instanceof Map) || !json.has('chat_template')) return file;
  const kept = new Map<string, JsonValue>(json);
  kept.delete('chat_template');
  return { name: file.name, contents: `${formatJson(kept)}\n` };
}

interface Built {
  /** That of the model whose config.json the output has. */
  readonly first: TokenizerFolder;
  readonly vocabulary: OutputVocabulary;
  readonly files: readonly OutputFile[];
  readonly rows: VocabularyRows;
  readonly changes: readonly string[];
}

/** null: something is wrong, and said to `problems`. */
async function build(
  config: MergeConfig,
  given: readonly TokenizerModel[],
  problems: MergeProblems,
  warnings: string[],
): Promise<Built | null> {
  const { source, tokens, padToMultipleOf } = config.tokenizer!;
  const place = placeOf(config);
  forcedFrom(tokens, problems);
  const models = await openAll(given, place, problems);
  if (models === null) return null;
  const first = models[0]!;
  const key = typeof source === 'string' ? first.key : source.key;
  const owner = models.find((model) => model.key === key);
  if (!owner) {
    problems.add({
      message: `the tokenizer is to be that of ${key}, which is not among the models that are merged.`,
      remedy: `Give union, base, or one of ${models.map((model) => model.key).join(', ')}.`,
      path: place,
    });
    return null;
  }
  if (source === 'union' && !sameKind(models, place, problems)) return null;
  const vocabulary =
    source === 'union'
      ? unionVocabulary(owner, models, tokens.keys())
      : ownVocabulary(owner, tokens.keys());
  let files: readonly OutputFile[];
  try {
    files = await editTokenizer(vocabulary);
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    problems.add({ message: error.description, remedy: error.remedy ?? '', path: place });
    return null;
  }
  const { numTokens, added, dropped } = vocabulary;
  const isOwn = added.length === 0 && dropped.length === 0;
  const keptRows = isOwn && !padToMultipleOf ? owner.numRows : numTokens;
  const padding = padToMultipleOf
    ? Math.ceil(numTokens / padToMultipleOf) * padToMultipleOf - numTokens
    : 0;
  const numRows = keptRows + padding;
  const changes = changesOf(vocabulary, models, { keptRows, padding });
  warnings.push(...vocabulary.warnings, ...changes);
  const rules: RowRules = {
    vocabulary,
    models: new Map(models.map((model) => [model.key, model])),
    tokens,
    keptRows,
    padding,
    path: (token) => ['tokenizer', 'tokens', token],
  };
  const told = new Set<string>();
  const rows: VocabularyRows = {
    numRows,
    sourcesOf: (inputs, base, found) => {
      const { sources, unknown } = alignTensor(rules, inputs, base, found);
      const news = unknown.filter((token) => !told.has(token));
      for (const token of news) told.add(token);
      if (news.length > 0)
        warnings.push(
          `${news.length === 1 ? 'The token' : `${news.length} tokens`} ${listTokens(news)} ${news.length === 1 ? 'is' : 'are'} in no model: zeros.`,
        );
      return sources;
    },
  };
  return { first: first.tokens, vocabulary, files, rows, changes };
}

/** Where the config says it: one of two keys. What is missing would stand where the whole does. */
function placeOf(config: MergeConfig): ConfigPath {
  const isThere = !sameValue(config.placeOf(['tokenizer_source']), config.placeOf([]));
  return isThere ? ['tokenizer_source'] : ['tokenizer', 'source'];
}

/** `force` says that a token has another row everywhere: which one? */
function forcedFrom(tokens: TokenizerConfig['tokens'], problems: MergeProblems): void {
  for (const [token, { source, force }] of tokens)
    if (force && source === null)
      problems.add({
        message: `token ${JSON.stringify(token)} has force and no source: no row is to stand in the place of the models' own.`,
        remedy: 'Give a source, or leave out force.',
        path: ['tokenizer', 'tokens', token],
      });
}

async function openAll(
  given: readonly TokenizerModel[],
  path: ConfigPath,
  problems: MergeProblems,
): Promise<VocabularyModel[] | null> {
  // A large one takes a second: models that were trained from one base have the same files.
  const byHash = new Map<string, Promise<TokenizerFolder>>();
  const models: VocabularyModel[] = [];
  for (const { key, folder, numRows } of given)
    try {
      const hash = await tokenizerHash(folder);
      const opened = byHash.get(hash) ?? openTokenizer(folder);
      byHash.set(hash, opened);
      models.push({ key, tokens: await opened, numRows });
    } catch (error) {
      if (!AttuneError.isInstance(error)) throw error;
      const remedy = `${error.remedy ?? ''} Or leave out tokenizer: rows then stand as they are.`;
      problems.add({ message: `${key}: ${error.description}`, remedy: remedy.trim(), path });
    }
  return models.length === given.length ? models : null;
}

/**
 * Tokens of a BPE, a Unigram and a WordPiece spell words in other ways ("Ġthe", "▁the", "##the"),
 * and only those of the base's kind would ever be made of a text. mergekit joins them all the same.
 */
function sameKind(
  models: readonly VocabularyModel[],
  path: ConfigPath,
  problems: MergeProblems,
): boolean {
  const [first, ...others] = models;
  const other = others.find(({ tokens }) => tokens.kind !== first!.tokens.kind);
  if (!other) return true;
  problems.add({
    message: `a union of a ${first!.tokens.kind} (${first!.key}) with a ${other.tokens.kind} (${other.key}): their tokens spell words in other ways, and those of the second would never be made of a text.`,
    remedy: 'Give tokenizer: { source: base }, or models with tokenizers of one kind.',
    path,
  });
  return false;
}

function changesOf(
  { owner, ids, numTokens, added, promoted, dropped }: OutputVocabulary,
  models: readonly VocabularyModel[],
  { keptRows, padding }: { readonly keptRows: number; readonly padding: number },
): string[] {
  const changes: string[] = [];
  const count = (n: number, noun = 'token') => `${n} ${noun}${n === 1 ? '' : 's'}`;
  if (added.length > 0)
    changes.push(
      `${count(added.length)} added to the tokenizer of ${owner.key} (${listTokens(added.map(({ token }) => token.content))}), as added tokens: each is taken out of a text before the tokenizer splits the rest.`,
    );
  if (promoted.length > 0)
    changes.push(
      `${count(promoted.length)} of ${owner.key} ${promoted.length === 1 ? 'becomes an added token' : 'become added tokens'}, as in other models: ${listTokens(promoted.map(({ token }) => token.content))}.`,
    );
  if (dropped.length > 0)
    changes.push(
      `${count(dropped.length)} of ${owner.key} without a row in its embedding of ${owner.numRows} rows left out: ${listTokens(dropped)}.`,
    );
  for (const { key, tokens, numRows } of models) {
    const has = (token: string) => (tokens.vocabulary.get(token) ?? numRows) < numRows;
    const missing = [...ids.keys()].filter((token) => !has(token));
    const gone = [...tokens.vocabulary.keys()].filter((token) => !ids.has(token) && has(token));
    if (missing.length > 0)
      changes.push(
        `${key} lacks ${count(missing.length)} of the vocabulary (${listTokens(missing)}), and has rows of others for them.`,
      );
    if (missing.length * 2 > ids.size)
      changes.push(
        `${key} shares less than half of the vocabulary: rows of tokens that it lacks say nothing of what it learned.`,
      );
    if (gone.length > 0)
      changes.push(
        `${count(gone.length)} of ${key} not in the vocabulary (${listTokens(gone)}): their rows are left out.`,
      );
  }
  if (keptRows > numTokens)
    changes.push(
      `${count(keptRows - numTokens, 'row')} without a token kept behind the vocabulary of ${numTokens}, as ${owner.key} has them.`,
    );
  if (padding > 0)
    changes.push(
      `${count(padding, 'row')} without a token behind the vocabulary of ${numTokens}, each the mean of all others.`,
    );
  if (keptRows + padding < owner.numRows)
    changes.push(
      `The embedding has ${keptRows + padding} rows; that of ${owner.key} has ${owner.numRows}, of which those without a token are left out.`,
    );
  return changes;
}
