import type { LanguageModel } from '@attune/core';
import { AttuneError, isPlainObject, type PlainJson, snakeToCamel } from '@attune/core/util';
import { z } from 'zod';
import type { StageContext } from '../contract/dataStage.js';
import type { Embedder } from '../contract/embedder.js';
import { inFiles } from '../contract/inFiles.js';
import { choiceFingerprint, isModel, loadModel } from '../models/modelChoice.js';
import { endpointEmbedder } from './endpointEmbedder.js';
import { modelEmbedder } from './modelEmbedder.js';

/** An embedder, or a model to make one of: loaded, or its folder or Hub id. */
export type EmbedderChoice = Embedder | LanguageModel | string;

const isEmbedder = (value: unknown): value is Embedder =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Partial<Embedder>).embed === 'function' &&
  typeof (value as Partial<Embedder>).fingerprint === 'function';

/** For shapes of options. */
export const embedderChoice = inFiles(
  z.custom<EmbedderChoice>(
    (value) => isEmbedder(value) || isModel(value) || (typeof value === 'string' && value !== ''),
    'expected an embedder, a model that is loaded, or its folder or Hub id',
  ),
  // A server computes the vectors of an endpoint; comparing them is for a device all the same.
  { read: embedderOfFile, needsDevice: () => true },
);

/** `{ type: endpoint, ...options of endpointEmbedder }`. */
function embedderOfFile(value: unknown): unknown {
  if (!isPlainObject(value)) return value;
  const { type, ...rest } = value;
  if (type !== 'endpoint')
    throw new AttuneError(
      'DATA_EMBEDDER',
      `the type of an embedder is ${JSON.stringify(type) ?? 'missing'}; expected "endpoint".`,
      { remedy: 'Write { type: endpoint, base_url: ..., model: ... }, or the folder of a model.' },
    );
  const options = Object.entries(rest).map(([key, item]) => [snakeToCamel(key), item]);
  return endpointEmbedder(Object.fromEntries(options));
}

/**
 * The embedder that an option of a stage means: of a model the mean of its hidden states, with the
 * tokenizer of its folder.
 *
 * @param where who asks, for messages: "dedupe"
 * @throws DATA_MODEL
 */
export async function chosenEmbedder(
  choice: EmbedderChoice,
  { attune }: Pick<StageContext, 'attune'>,
  where: string,
): Promise<Embedder> {
  if (isEmbedder(choice)) return choice;
  const { model, tokenizer } = await loadModel({ model: choice }, attune, where);
  return modelEmbedder({ model, tokenizer });
}

/** What kept results of an embedder depend on. */
export const embedderFingerprint = async (choice: EmbedderChoice): Promise<PlainJson> =>
  isEmbedder(choice) ? choice.fingerprint() : choiceFingerprint(choice);
