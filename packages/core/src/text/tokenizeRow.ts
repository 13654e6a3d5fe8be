import { z } from 'zod';
import { assistantMask, type ChatTokenizer, commonPrefix } from '../tokenizer/assistantMask.js';
import { AttuneError } from '../util/errors.js';
import { checkNames, type OptionsInput } from '../util/options.js';
import { IGNORE_INDEX, type TokenExample } from './collator.js';
import { unusedColumns } from './conversationColumns.js';
import { type Messages, readSftRow, type SftRow, type TemplateInput } from './formats.js';

/**
 * What tokenising a row asks of a tokenizer. What may be missing is used by the preflight alone.
 */
export interface TextTokenizer extends ChatTokenizer {
  readonly eosToken: string | null;
  readonly eosTokenId?: number | null;
  readonly bosTokenId?: number | null;
  readonly padTokenId?: number | null;
  readonly addedTokenIds?: ReadonlySet<number>;
  readonly chatTemplate?: string | null;
  /** Ids of a text; special tokens that the tokenizer adds (a BOS, ...) unless told not to. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): readonly number[];
  decode?(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
}

/** Tokens of a row; Infinity: any number. */
export const numTokens = z.custom<number>(
  (value) => typeof value === 'number' && value >= 1,
  'expected a number of tokens, 1 or more',
);

/** What tokenising a row takes. */
export const tokenizeShape = {
  /** Not needed for rows of `input_ids`. */
  tokenizer: z.custom<TextTokenizer>().nullable(),
  /** Tokens beyond this many are cut off at the end. */
  maxLength: numTokens.meta({ aka: 'maxseqlength' }),
  /** Rows of the embedding: ids must be below. */
  vocabSize: z.number().min(1),
  /** Learn completions only. null: where a row has a completion. */
  completionOnlyLoss: z.boolean().nullable(),
  /** Learn what the assistant says only. */
  assistantOnlyLoss: z.boolean(),
  /** Row -> text, for rows of a format of your own. Default: rows of the known formats. */
  formattingFunc: z
    .custom<(row: never) => string>((value) => typeof value === 'function', 'expected a function')
    .optional(),
};
const tokenizeOptions = z.strictObject(tokenizeShape);
const tokenizePlace = { where: 'tokenizeSft' };

/** Options of {@link tokenizeSft}. */
export type TokenizeOptions = OptionsInput<typeof tokenizeShape>;

/** A row, tokenised. */
export interface TokenizedRow {
  /** null when nothing is left to learn from it. */
  readonly example: TokenExample | null;
  /** The same, also when nothing is learned. */
  readonly tokens: TokenExample;
  readonly kind: SftRow['kind'];
  readonly truncated: boolean;
  /** The prompt alone tokenises to something else than the beginning of prompt + completion. */
  readonly boundaryMerged: boolean;
  /**
   * The end of the prompt's text that is not in the whole conversation's, because the chat template
   * renders the prompt alone otherwise; null where it agrees.
   */
  readonly promptMismatch: string | null;
  /** Where `boundaryMerged`: ids that the prompt alone ends with and that are not in the row. */
  readonly promptEnd?: readonly number[];
  /** Which text of its row this is, where there are several: "chosen". Default: the only one. */
  readonly part?: string;
  /** Columns of the row that have no place in it as it was read. Default none. */
  readonly unusedColumns?: readonly string[];
}

interface Tokens {
  readonly ids: readonly number[];
  /** Whether each id is learned; all of them without it. */
  readonly learned?: (index: number) => boolean;
  readonly boundaryMerged?: boolean;
  readonly promptMismatch?: string | null;
}

/**
 * Row -> ids and labels, as TRL's SFTTrainer does it: special tokens as the tokenizer adds them, an
 * EOS after plain text and after plain completions, prompt + completion tokenised in one go with
 * the completion starting where these ids leave those of the prompt, truncation that keeps the
 * start.
 *
 * Deviations: `completionOnlyLoss: true` on conversations learns what the assistant says (TRL
 * ignores it there and learns everything), and on plain text it is an error. Assistant masks need
 * no `{% generation %}` (`assistantMask`).
 *
 * @throws UNKNOWN_OPTION, ROW_FORMAT, VOCAB_MISMATCH, TOKENIZER_MISSING, NO_COMPLETION,
 *   TEMPLATE_PREFIX
 */
export function tokenizeSft(row: unknown, origin: string, options: TokenizeOptions): TokenizedRow {
  checkNames(tokenizeOptions, options, tokenizePlace);
  const { formattingFunc, maxLength } = options;
  const parsed: SftRow = formattingFunc
    ? { kind: 'text', text: formattingFunc(row as never) }
    : readSftRow(row, origin);
  const {
    ids,
    learned = () => true,
    boundaryMerged = false,
    promptMismatch = null,
  } = tokensOf(parsed, origin, options);
  const fromTokenizer = parsed.kind !== 'tokens';
  checkTokenIds(ids, options.vocabSize, origin, { fromTokenizer });
  if (parsed.kind === 'tokens')
    checkTokenIds(
      (parsed.labels ?? []).filter((label) => label !== IGNORE_INDEX),
      options.vocabSize,
      origin,
      { fromTokenizer, what: 'label' },
    );
  const inputIds = Int32Array.from(ids.slice(0, maxLength));
  const labels = inputIds.map((id, i) => (learned(i) ? labelOf(parsed, i, id) : IGNORE_INDEX));
  // The first token is never predicted: a label there alone would leave nothing to learn.
  const trains = labels.some((label, i) => i > 0 && label !== IGNORE_INDEX);
  const example = { inputIds, labels };
  return {
    example: trains ? example : null,
    tokens: example,
    kind: parsed.kind,
    truncated: ids.length > maxLength,
    boundaryMerged,
    promptMismatch,
    unusedColumns: formattingFunc ? [] : unusedColumns(row, parsed),
  };
}

const labelOf = (row: SftRow, index: number, id: number): number =>
  row.kind === 'tokens' && row.labels ? row.labels[index]! : id;

function tokensOf(row: SftRow, origin: string, options: TokenizeOptions): Tokens {
  if (row.kind === 'tokens') return { ids: row.inputIds };
  const { tokenizer, completionOnlyLoss, assistantOnlyLoss } = options;
  if (!tokenizer) throw tokenizerMissing(origin);
  const assistantOnly =
    assistantOnlyLoss || (completionOnlyLoss === true && row.kind === 'messages');
  switch (row.kind) {
    case 'text':
      if (completionOnlyLoss || assistantOnlyLoss)
        throw new AttuneError(
          'NO_COMPLETION',
          `${origin}: ${completionOnlyLoss ? 'completionOnlyLoss' : 'assistantOnlyLoss'} is on, and plain text has no completion to learn.`,
          { remedy: 'Give rows of { prompt, completion }, or leave the option out.' },
        );
      return { ids: tokenizer.encode(withEos(row.text, tokenizer)) };
    case 'prompt': {
      const ids = tokenizer.encode(row.prompt + withEos(row.completion, tokenizer));
      return completionOf(tokenizer.encode(row.prompt), ids, completionOnlyLoss ?? true);
    }
    case 'chatPrompt': {
      const { template, prompt } = row;
      const conversation = [...prompt, ...row.completion];
      const text = tokenizer.applyChatTemplate(conversation, { ...template, tokenize: false });
      const before = tokenizer.applyChatTemplate(prompt, {
        ...template,
        tokenize: false,
        addGenerationPrompt: true,
      });
      // The template writes special tokens itself, so none are added: no doubled BOS.
      const encode = (t: string) => tokenizer.encode(t, { addSpecialTokens: false });
      const completion = completionOf(encode(before), encode(text), completionOnlyLoss ?? true);
      const differs = text.startsWith(before) ? null : before.slice(commonPrefix(before, text));
      const found = { ...completion, promptMismatch: differs };
      const weights = weightsOf(conversation, origin);
      if (!assistantOnly && !weights) return found;
      const { mask } = maskOf(tokenizer, conversation, template, origin, weights);
      return { ...found, learned: (i) => completion.learned(i) && mask[i]! };
    }
    case 'messages': {
      const { messages, template } = row;
      const weights = weightsOf(messages, origin);
      if (assistantOnly || weights) {
        const { ids, mask } = maskOf(tokenizer, messages, template, origin, weights);
        return { ids, learned: (i) => mask[i]! };
      }
      const text = tokenizer.applyChatTemplate(messages, { ...template, tokenize: false });
      return { ids: tokenizer.encode(text, { addSpecialTokens: false }) };
    }
  }
}

/** TOKENIZER_MISSING: a row is text and nothing makes ids of it. */
export const tokenizerMissing = (origin: string, idColumns = '{ input_ids }'): AttuneError =>
  new AttuneError('TOKENIZER_MISSING', `${origin}: the row is text and there is no tokenizer.`, {
    remedy: `Pass tokenizer: await AutoTokenizer.fromPretrained(...), or rows of ${idColumns}.`,
  });

/** A text with the end token behind it, which is not doubled. */
export const withEos = (text: string, { eosToken }: TextTokenizer): string =>
  eosToken === null || text.endsWith(eosToken) ? text : text + eosToken;

function completionOf(prompt: readonly number[], ids: readonly number[], only: boolean) {
  const start = commonPrefix(prompt, ids);
  return {
    ids,
    learned: (i: number) => !only || i >= start,
    boundaryMerged: start < prompt.length,
  };
}

/**
 * Which messages are learned by their `weight`, as fine-tuning services read it: of the assistant's
 * those whose weight is 1, which is the default; nobody else's. null: none of them has one.
 *
 * @throws ROW_FORMAT for other weights than 0 and 1
 */
function weightsOf(messages: Messages, origin: string): readonly boolean[] | null {
  const isWeighted = messages.some((m) => m.role === 'assistant' && m.weight !== undefined);
  if (!isWeighted) return null;
  return messages.map(({ role, weight = 1 }, i) => {
    if (role !== 'assistant') return false;
    if (weight !== 0 && weight !== 1)
      throw new AttuneError(
        'ROW_FORMAT',
        `${origin}: the weight of message ${i} (${role}) is ${JSON.stringify(weight)}; it is to be 0 or 1.`,
        { remedy: 'Give 1 to what is to be learned and 0 to what is not.', details: { origin } },
      );
    return weight === 1;
  });
}

/** @throws NO_COMPLETION when the assistant says nothing, TEMPLATE_PREFIX */
function maskOf(
  tokenizer: TextTokenizer,
  messages: Messages,
  template: TemplateInput,
  origin: string,
  weights: readonly boolean[] | null,
) {
  const isLearned = weights ? (message: number) => weights[message]! : undefined;
  const found = assistantMask(tokenizer, messages, template, origin, isLearned);
  if (found.mask.includes(true)) return found;
  if (weights && messages.some(({ role }) => role === 'assistant'))
    throw new AttuneError(
      'NO_COMPLETION',
      `${origin}: every message of the assistant has weight 0, so that nothing is learned.`,
      { remedy: 'Give one of them weight 1, or leave the row out.', details: { origin } },
    );
  throw new AttuneError(
    'NO_COMPLETION',
    `${origin}: only the assistant's words are to be learned, and there are none (roles: ${messages.map((m) => m.role).join(', ')}). The row renders as ${JSON.stringify(tokenizer.applyChatTemplate(messages, { ...template, tokenize: false }))}.`,
    {
      remedy:
        'Give conversations with an "assistant" message; if there is one, look at where the chat template has {% generation %}.',
      details: { origin, ids: [...found.ids] },
    },
  );
}

/**
 * Every id has a row of the embedding.
 *
 * @throws VOCAB_MISMATCH
 */
export function checkTokenIds(
  ids: Iterable<number>,
  vocabSize: number,
  origin: string,
  { fromTokenizer = true, what = 'token id' } = {},
): void {
  for (const id of ids) {
    if (id < vocabSize && id >= 0) continue;
    throw new AttuneError(
      'VOCAB_MISMATCH',
      `${origin}: ${what} ${id} is outside of the model's embedding of ${vocabSize} rows${fromTokenizer ? `; the tokenizer's vocabulary has at least ${id + 1} entries` : ''}.`,
      {
        remedy:
          'Use the tokenizer that belongs to the model. Where its files add tokens, the model has to grow first: model.resize_token_embeddings(len(tokenizer)) in Python, and save both.',
        details: { id, vocabSize },
      },
    );
  }
}
