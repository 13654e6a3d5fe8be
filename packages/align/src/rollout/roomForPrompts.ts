import { AttuneError, type LanguageModel } from '@attune/core';

/**
 * Tokens of a prompt beside which the model has room for an answer.
 *
 * @param option what the length of an answer is called, for the message
 * @throws ARGUMENTS_INVALID where no prompt has room
 */
export function roomForPrompts(
  { config, adapters }: LanguageModel,
  option: 'maxCompletionLength' | 'maxNewTokens',
  length: number,
): number {
  const allowed = config.maxPositionEmbeddings - (adapters?.numVirtualTokens ?? 0);
  if (length < allowed) return allowed - length;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `${option} is ${length}, and the model allows ${allowed} tokens of prompt and answer together.`,
    { remedy: `Lower it below ${allowed}.` },
  );
}
