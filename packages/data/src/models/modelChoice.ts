import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  AttuneError,
  AutoModelForCausalLM,
  AutoTokenizer,
  type LanguageModel,
} from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { isPlainObject, type PlainJson } from '@attune/core/util';
import { z } from 'zod';
import { inFiles } from '../contract/inFiles.js';
import { modelFingerprint } from './modelFingerprint.js';

/** A model that is loaded, or the folder or Hub id of one. */
export type ModelChoice = string | LanguageModel;

/** What is asked of a tokenizer here. `AutoTokenizer` opens one. */
export type Encoder = Pick<TextTokenizer, 'bosTokenId' | 'eosTokenId'> & {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): readonly number[];
};

/** A tokenizer, or the folder or Hub id of one. */
export type TokenizerChoice = string | Encoder;

/** Whether it is a model, not the name of one. */
export const isModel = (value: unknown): value is LanguageModel =>
  typeof value === 'object' && value !== null && !isPlainObject(value) && 'hiddenStates' in value;

/** Whether it is a tokenizer, not the name of one. */
const isTokenizer = (value: unknown): value is Encoder =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as { encode?: unknown }).encode === 'function';

/** For shapes of options. */
export const modelChoice = inFiles(
  z.custom<ModelChoice>(
    (value) => (typeof value === 'string' && value !== '') || isModel(value),
    'expected a model that is loaded, or its folder or Hub id',
  ),
  { needsDevice: (value) => typeof value === 'string' },
);

/** For shapes of options. */
export const tokenizerChoice = z.custom<TokenizerChoice>(
  (value) => (typeof value === 'string' && value !== '') || isTokenizer(value),
  'expected a tokenizer, or its folder or Hub id',
);

/** A model with its tokenizer, loaded. */
export interface LoadedModel {
  readonly model: LanguageModel;
  readonly tokenizer: Encoder;
}

/** What is to be loaded. */
export interface ModelToLoad {
  readonly model: ModelChoice;
  /** Default: the one in the folder of the model. */
  readonly tokenizer?: TokenizerChoice | undefined;
}

/**
 * Loads what is named, and takes what is there.
 *
 * @param where who asks, for messages: "scoreIfd"
 * @throws DATA_MODEL where a model is named and there is no `attune` to load it with, or a
 *   tokenizer is neither given nor in the folder of the model; what loading throws
 */
export async function loadModel(
  { model: choice, tokenizer }: ModelToLoad,
  attune: Attune | null,
  where: string,
): Promise<LoadedModel> {
  if (typeof choice === 'string' && !attune)
    throw new AttuneError(
      'DATA_MODEL',
      `${where}: model is the name ${JSON.stringify(choice)}, and there is no device to load it on.`,
      {
        remedy:
          'Give the pipeline, or the call, an `attune` of createAttune(...), or a model that is loaded.',
      },
    );
  const model =
    typeof choice === 'string'
      ? await AutoModelForCausalLM.fromPretrained(choice, { attune: attune! })
      : choice;
  if (tokenizer !== undefined && typeof tokenizer !== 'string') return { model, tokenizer };
  const place = tokenizer ?? model.folder;
  if (place === null)
    throw new AttuneError('DATA_MODEL', `${where}: the model was loaded from no folder.`, {
      remedy: 'Give its tokenizer: AutoTokenizer.fromPretrained(...).',
    });
  return { model, tokenizer: await AutoTokenizer.fromPretrained(place) };
}

/**
 * What kept results of a model depend on: what it computes; of one that is only named, its name and
 * the sizes and times of its files.
 */
export async function choiceFingerprint(choice: ModelChoice): Promise<PlainJson> {
  if (typeof choice !== 'string') return modelFingerprint(choice);
  const names = await readdir(choice).catch(() => []);
  const files = await Promise.all(
    names.sort().map(async (name) => {
      const { size, mtimeMs } = await stat(join(choice, name));
      return [name, size, mtimeMs];
    }),
  );
  return { name: choice, files };
}

/** What kept results of a tokenizer depend on: its name, or what it makes of a text. */
export const tokenizerFingerprint = (choice: TokenizerChoice | undefined): PlainJson =>
  typeof choice === 'object' ? [...choice.encode(TEXT)] : (choice ?? null);

const TEXT = ' The quick brown fox, 1234.5 of them:\n\tüber größe 日本語 🙂 </s>';
