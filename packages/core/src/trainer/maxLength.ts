import { type LanguageModel, longestInput } from '../models/languageModel.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import { AttuneError } from '../util/errors.js';

/**
 * Tokens of a row at most: what was asked for, which the model must allow; a default is lowered to
 * it.
 *
 * @throws MAX_LENGTH
 */
export function resolveMaxLength(
  args: TrainingArguments,
  written: Readonly<Record<string, unknown>>,
  model: LanguageModel,
): number {
  const allowed = longestInput(model);
  if (args.maxLength === null || args.maxLength <= allowed) return args.maxLength ?? allowed;
  const virtual = model.adapters?.numVirtualTokens;
  if ((written.maxLength ?? written.max_length) !== undefined)
    throw new AttuneError(
      'MAX_LENGTH',
      `maxLength is ${args.maxLength}, but the model has positions for ${allowed} tokens (max_position_embeddings${virtual ? `, less ${virtual} virtual tokens` : ''}).`,
      { remedy: `Set maxLength to at most ${allowed}.` },
    );
  model.attune.logger.info(
    `maxLength is ${allowed}, the most that the model allows (default ${args.maxLength})`,
  );
  return allowed;
}
