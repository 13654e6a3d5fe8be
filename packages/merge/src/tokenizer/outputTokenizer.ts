import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { type RawConfig, readJsonFile } from '@attune/core/io';
import { formatJson } from '@attune/core/util';
import type { MergeConfig } from '../config/mergeConfig.js';
import type { OutputFile } from '../plan/mergePlan.js';
import type { MergeProblems } from '../problems.js';
import { alignTokenizers, type TokenizerModel, type VocabularyRows } from './alignTokenizers.js';
import { chooseChatTemplate } from './chatTemplates.js';
import { translateIds } from './specialIds.js';
import { BESIDE, tokenizerFiles } from './tokenizerFiles.js';
import { withChatTemplate } from './withChatTemplate.js';

export type { TokenizerModel, VocabularyRows } from './alignTokenizers.js';

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
  const built = config.tokenizer && (await alignTokenizers(config, models, problems, warnings));
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
