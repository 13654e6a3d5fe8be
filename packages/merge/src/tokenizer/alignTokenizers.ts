import { AttuneError } from '@attune/core';
import { sameValue } from '@attune/core/util';
import type { MergeConfig, TokenizerConfig } from '../config/mergeConfig.js';
import type { TensorSource } from '../contract/tensorTask.js';
import type { OutputFile } from '../plan/mergePlan.js';
import type { ConfigPath, MergeProblems } from '../problems.js';
import { editTokenizer } from './editTokenizer.js';
import {
  listTokens,
  type OutputVocabulary,
  ownVocabulary,
  unionVocabulary,
  type VocabularyModel,
} from './outputVocabulary.js';
import { openTokenizer, type TokenizerFolder, tokenizerHash } from './tokenizerFolder.js';
import { alignTensor, type RowRules, type VocabularyTensor } from './tokenRows.js';
import { vocabularyChanges } from './vocabularyChanges.js';

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

/** A tokenizer that was built, and the rows of each model for it. */
export interface AlignedTokenizers {
  /** That of the model whose config.json the output has. */
  readonly first: TokenizerFolder;
  readonly vocabulary: OutputVocabulary;
  readonly files: readonly OutputFile[];
  readonly rows: VocabularyRows;
  readonly changes: readonly string[];
}

/**
 * Builds the tokenizer that a config asks for, and lines up the rows of all models.
 *
 * @param given the base of the merge (or its first model) before the others
 * @param warnings receives what a user should know
 * @returns null: something is wrong, and said to `problems`
 */
export async function alignTokenizers(
  config: MergeConfig,
  given: readonly TokenizerModel[],
  problems: MergeProblems,
  warnings: string[],
): Promise<AlignedTokenizers | null> {
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
  const changes = vocabularyChanges(vocabulary, models, { keptRows, padding });
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
