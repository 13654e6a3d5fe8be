import { IGNORE_INDEX, type Row } from '@attune/core';
import {
  checkTokenIds,
  type Messages,
  numTokens,
  otherModality,
  PREFLIGHT_CHECKS,
  Preflight,
  readMessages,
  readTemplateInput,
  type TextTokenizer,
  type TokenizedRow,
  tokenizerMissing,
  withoutNulls,
  withSystem,
} from '@attune/core/text';
import type { EncodedRow, RowRules } from '@attune/core/training';
import { briefly, isPlainObject, type OptionsInput, parseOptions, z } from '@attune/core/util';
import { fieldsOf, missingColumn, type RowFormat, rowError } from './rowErrors.js';

/** A prompt to answer, and what else its row says. */
export interface PromptExample {
  readonly promptIds: Int32Array;
  /** As the row has it; null for a row of ids alone. */
  readonly prompt: string | Messages | null;
  /** The other columns of the row, for reward functions. */
  readonly columns: Row;
}

const PROMPT_IDS = [
  ...['input_ids', 'inputIds', 'prompt_ids', 'promptIds'],
  ...['prompt_input_ids', 'promptInputIds'],
];
const IDS_ONLY = ['attention_mask', 'prompt_attention_mask', 'position_ids', 'token_type_ids'];

const format: RowFormat = {
  what: 'a prompt',
  accepted:
    '{ prompt } as a text or as a list of messages, with any other columns; { input_ids } for prompts that are tokenised',
  columns: ['prompt', ...PROMPT_IDS],
};

const promptRowShape = {
  /**
   * Tokens of a prompt above which its row is left out: what the model's positions leave beside a
   * completion. TRL 1.16 has no limit and fails while it generates. Default Infinity.
   */
  maxLength: numTokens.default(Number.POSITIVE_INFINITY).meta({ aka: 'maxpromptlength' }),
  /** Variables for the chat template of every row, which those of a row override. Default none. */
  chatTemplateKwargs: z
    .custom<Readonly<Record<string, unknown>>>(isPlainObject, 'expected an object of variables')
    .nullish()
    .meta({ aka: 'templatekwargs' }),
};
const promptRowOptions = z.strictObject(promptRowShape);

/** Options of {@link promptRows}. */
export type PromptRowOptions = OptionsInput<typeof promptRowShape>;

/**
 * Rules for rows of prompts that a model answers while it is trained (GRPO, RLOO, PPO, distillation
 * on-policy). Conversations end with the words that open the assistant's turn, as in TRL; plain
 * texts have the special tokens that the tokenizer adds. All other columns reach the rewards.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function promptRows(options: PromptRowOptions = {}): RowRules<PromptExample> {
  const { maxLength, chatTemplateKwargs } = parseOptions(promptRowOptions, options, {
    where: 'promptRows',
  });
  return {
    fingerprint: {
      maxLength: Number.isFinite(maxLength) ? maxLength : 'none',
      chatTemplateKwargs: chatTemplateKwargs ? JSON.stringify(chatTemplateKwargs) : 'none',
    },
    preflight: (model, tokenizer, use, title) =>
      new Preflight({
        ...{ use, title, tokenizer, maxLength, eosTokenIds: model.config.eosTokenId },
        allow: PREFLIGHT_CHECKS,
        teaches: false,
      }),
    lengthOf: ({ promptIds }) => promptIds.length,
    encode(row, { model, tokenizer, origin, preflight }): EncodedRow<PromptExample> {
      const fields = withoutNulls(fieldsOf(row, origin, format));
      const other = otherModality(fields);
      if (other !== null)
        throw rowError(origin, `the row has something that is no text (${other}).`, format);
      const tokens = PROMPT_IDS.find((column) => column in fields);
      if (tokens === undefined && !('prompt' in fields))
        throw missingColumn('prompt', row as Row, origin, format);
      const prompt = 'prompt' in fields ? readPrompt(fields.prompt, origin) : null;
      const ids =
        tokens === undefined
          ? tokenize(prompt!, fields, tokenizer, origin, chatTemplateKwargs)
          : idsOf(fields, tokens, origin);
      checkTokenIds(ids, model.config.vocabSize, origin, {
        fromTokenizer: tokens === undefined,
      });
      const promptIds = Int32Array.from(ids);
      const isTooLong = ids.length > maxLength;
      preflight?.add(origin, seenPrompt(promptIds, isTooLong));
      if (isTooLong)
        return {
          example: null,
          notes: [
            `the prompt is longer than ${maxLength} tokens, which leaves no room for an answer`,
          ],
        };
      if (ids.length === 0)
        return { example: null, notes: ['the prompt has no tokens to go on from'] };
      return {
        example: { promptIds, prompt, columns: othersOf(row as Row, tokens) },
      };
    },
  };
}

/** A prompt as a preflight sees it: all of it is given, and nothing of it is learned. */
function seenPrompt(inputIds: Int32Array, isTooLong: boolean): TokenizedRow {
  const tokens = { inputIds, labels: new Int32Array(inputIds.length).fill(IGNORE_INDEX) };
  return {
    example: isTooLong || inputIds.length === 0 ? null : tokens,
    tokens,
    kind: 'tokens',
    truncated: isTooLong,
    boundaryMerged: false,
    promptMismatch: null,
  };
}

function readPrompt(given: unknown, origin: string): string | Messages {
  if (typeof given === 'string') return given;
  if (Array.isArray(given))
    return readMessages(given, 'prompt', origin, `Accepted: ${format.accepted}.`);
  throw rowError(
    origin,
    `"prompt" is to be a text or a list of messages; it is ${briefly(given, 60)}.`,
    format,
  );
}

function tokenize(
  prompt: string | Messages,
  fields: Row,
  tokenizer: TextTokenizer | null,
  origin: string,
  general: Readonly<Record<string, unknown>> | null | undefined,
): readonly number[] {
  if (!tokenizer) throw tokenizerMissing(origin, '{ input_ids }');
  if (typeof prompt === 'string') return tokenizer.encode(prompt);
  const own = readTemplateInput(fields, origin, `Accepted: ${format.accepted}.`);
  const variables = { ...general, ...own.variables };
  const text = tokenizer.applyChatTemplate(withSystem(prompt, fields), {
    ...own,
    ...(Object.keys(variables).length > 0 && { variables }),
    tokenize: false,
    addGenerationPrompt: true,
  });
  return tokenizer.encode(text, { addSpecialTokens: false });
}

function idsOf(fields: Row, column: string, origin: string): readonly number[] {
  const ids = fields[column];
  if (!Array.isArray(ids) || !ids.every(Number.isInteger))
    throw rowError(
      origin,
      `"${column}" is to be a list of token ids; it is ${briefly(ids, 60)}.`,
      format,
    );
  const mask = fields.attention_mask;
  // Padding of rows that came in batches.
  const isMask = Array.isArray(mask) && mask.length === ids.length;
  return isMask ? ids.filter((_, i) => mask[i] !== 0) : (ids as number[]);
}

const othersOf = (row: Row, tokens: string | undefined): Row =>
  Object.fromEntries(
    Object.entries(row).filter(
      ([name]) =>
        name !== 'prompt' && name !== tokens && !(tokens !== undefined && IDS_ONLY.includes(name)),
    ),
  );
