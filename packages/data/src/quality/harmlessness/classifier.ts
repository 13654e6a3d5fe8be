import { AttuneError } from '@attune/core';
import { describeValue } from '@attune/core/util';
import type { QualityContext } from '../qualityCheck.js';

/** Says how harmful texts are: one number from 0 to 1 for each, in their order. */
export type TextClassifier = (
  texts: readonly string[],
) => readonly number[] | Promise<readonly number[]>;

/** @throws DATA_CLASSIFIER for an answer that is not one number from 0 to 1 for each text */
export async function askClassifier(
  classifier: TextClassifier,
  texts: readonly string[],
  { signal }: QualityContext,
): Promise<readonly number[]> {
  signal?.throwIfAborted();
  const scores = await classifier(texts);
  if (!Array.isArray(scores) && !ArrayBuffer.isView(scores))
    throw refused(`gave ${describeValue(scores)}`);
  const list = [...(scores as readonly number[])];
  if (list.length !== texts.length)
    throw refused(`gave ${list.length} scores for ${texts.length} texts`);
  const wrong = list.find((score) => !(score >= 0 && score <= 1));
  if (wrong !== undefined) throw refused(`gave the score ${String(wrong)}`);
  return list;
}

const refused = (what: string): AttuneError =>
  new AttuneError('DATA_CLASSIFIER', `harmlessness: the classifier ${what}.`, {
    remedy: 'It returns one number from 0 (harmless) to 1 (harmful) for each text, in their order.',
  });
