import { AttuneError, type ChatMessage, type Row, type RowRules } from '@attune/core';
import type { Prompt } from './rewards.js';

/** A prompt of a data set, tokenised. */
export interface PromptExample {
  readonly prompt: Prompt;
  readonly promptIds: readonly number[];
  /** The further columns of the row, for reward functions. */
  readonly columns: Row;
}

/** What {@link promptRows} take. */
export interface PromptRowOptions {
  readonly maxCompletionLength: number;
  /** What a chat template gets beside the messages. Default {}. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>;
}

/**
 * Rules for rows of `{ prompt }`, a text or messages, with any further columns. A text is tokenised
 * with the special tokens that the tokenizer adds, messages by the chat template with the beginning
 * of an answer, as in TRL. `prompt_ids` in the place of a tokenizer are taken as they are.
 *
 * @throws ROW_FORMAT, TOKENIZER_MISSING, VOCAB_MISMATCH, PROMPT_TOO_LONG, each with the row
 */
export function promptRows({
  maxCompletionLength,
  chatTemplateKwargs = {},
}: PromptRowOptions): RowRules<PromptExample> {
  return {
    fingerprint: { maxCompletionLength },
    lengthOf: ({ promptIds }) => promptIds.length + maxCompletionLength,
    encode(row, { model, tokenizer, origin }) {
      const fields = typeof row === 'object' && row !== null ? (row as Row) : {};
      const { prompt: given, prompt_ids, promptIds: camel, ...columns } = fields;
      const prompt = readPrompt(given, origin);
      const ids = prompt_ids ?? camel;
      let promptIds: readonly number[];
      if (ids !== undefined) promptIds = readIds(ids, origin);
      else if (!tokenizer)
        throw new AttuneError(
          'TOKENIZER_MISSING',
          `${origin}: the prompt is text, and there is no tokenizer.`,
          {
            remedy: 'Pass tokenizer: await AutoTokenizer.fromPretrained(...).',
          },
        );
      else if (typeof prompt === 'string') promptIds = tokenizer.encode(prompt);
      else {
        const text = tokenizer.applyChatTemplate(prompt, {
          ...chatTemplateKwargs,
          tokenize: false,
          addGenerationPrompt: true,
        });
        promptIds = tokenizer.encode(text, { addSpecialTokens: false });
      }
      const { vocabSize, maxPositionEmbeddings } = model.config;
      if (promptIds.length === 0)
        throw new AttuneError('ROW_FORMAT', `${origin}: the prompt has no tokens.`, {
          remedy: 'Give the prompt at least one token, a BOS for instance.',
        });
      const outside = promptIds.find((id) => !(id >= 0 && id < vocabSize));
      if (outside !== undefined)
        throw new AttuneError(
          'VOCAB_MISMATCH',
          `${origin}: token id ${outside} is outside of the model's vocabulary of ${vocabSize}.`,
          { remedy: "Use the model's own tokenizer." },
        );
      const room = maxPositionEmbeddings - (model.adapters?.numVirtualTokens ?? 0);
      if (promptIds.length + maxCompletionLength > room)
        throw new AttuneError(
          'PROMPT_TOO_LONG',
          `${origin}: a prompt of ${promptIds.length} tokens and a completion of ${maxCompletionLength} are ${promptIds.length + maxCompletionLength}, and the model allows ${room}.`,
          {
            remedy: `Lower maxCompletionLength, or leave prompts above ${Math.max(room - maxCompletionLength, 0)} tokens out.`,
          },
        );
      return { example: { prompt, promptIds, columns } };
    },
  };
}

function readPrompt(given: unknown, origin: string): Prompt {
  if (typeof given === 'string') return given;
  const isMessage = (m: unknown) =>
    typeof m === 'object' && m !== null && 'role' in m && 'content' in m;
  if (Array.isArray(given) && given.length > 0 && given.every(isMessage))
    return given as ChatMessage[];
  throw new AttuneError(
    'ROW_FORMAT',
    `${origin}: the prompt is ${given === undefined ? 'not given' : JSON.stringify(given)}.`,
    { remedy: 'Give rows of { prompt }: a text, or a list of { role, content }.' },
  );
}

function readIds(given: unknown, origin: string): number[] {
  const ids =
    typeof given === 'object' && given !== null ? Array.from(given as ArrayLike<unknown>) : [];
  if (ids.length > 0 && ids.every((id) => Number.isInteger(id))) return ids as number[];
  throw new AttuneError('ROW_FORMAT', `${origin}: prompt_ids is ${JSON.stringify(given)}.`, {
    remedy: 'Give a list of token ids, not empty.',
  });
}
