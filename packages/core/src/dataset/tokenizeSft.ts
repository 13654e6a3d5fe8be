import { AttuneError } from '../util/errors.js';
import { IGNORE_INDEX, type TokenExample } from './collator.js';
import { type Messages, readSftRow, type SftRow, type TemplateInput } from './formats.js';

/** What tokenising a row asks of a tokenizer. */
export interface TextTokenizer {
  readonly eosToken: string | null;
  /** Ids of a text; special tokens that the tokenizer adds (a BOS, ...) unless told not to. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): readonly number[];
  /** A conversation as the model was trained to see it. @throws when the model has no chat template */
  applyChatTemplate(
    messages: Messages,
    options: TemplateInput & { readonly tokenize: false; readonly addGenerationPrompt?: boolean },
  ): string;
}

export interface TokenizeOptions {
  /** Not needed for rows of `input_ids`. */
  readonly tokenizer: TextTokenizer | null;
  /** Tokens beyond this many are cut off at the end. */
  readonly maxLength: number;
  /** Rows of the embedding: ids must be below. */
  readonly vocabSize: number;
  /** Learn completions only. null: where a row has a completion. */
  readonly completionOnlyLoss: boolean | null;
  /** Learn what the assistant says only. */
  readonly assistantOnlyLoss: boolean;
  readonly formattingFunc?: ((row: never) => string) | undefined;
}

/** A row, tokenised; `example` is null when nothing is left to learn from it after truncation. */
export interface TokenizedRow {
  readonly example: TokenExample | null;
  readonly truncated: boolean;
  /** The prompt alone tokenises to something else than the beginning of prompt + completion. */
  readonly boundaryMerged: boolean;
}

interface Tokens {
  readonly ids: readonly number[];
  /** Whether each id is learned; all of them without it. */
  readonly learned?: (index: number, id: number) => boolean;
  readonly boundaryMerged?: boolean;
}

/**
 * Row -> ids and labels, as TRL's SFTTrainer does it: special tokens as the tokenizer adds them, an
 * EOS after plain text and after plain completions, prompt + completion tokenised in one go with the
 * completion starting where these ids leave those of the prompt, truncation that keeps the start.
 *
 * One deviation: `completionOnlyLoss: true` on conversations learns what the assistant says (TRL
 * ignores it there and learns everything), and on plain text it is an error.
 *
 * @throws ROW_FORMAT, VOCAB_MISMATCH, TOKENIZER_MISSING, NO_COMPLETION
 */
export function tokenizeSft(row: unknown, origin: string, options: TokenizeOptions): TokenizedRow {
  const { formattingFunc, maxLength } = options;
  const parsed: SftRow = formattingFunc
    ? { kind: 'text', text: formattingFunc(row as never) }
    : readSftRow(row, origin);
  const { ids, learned = () => true, boundaryMerged = false } = tokens(parsed, origin, options);
  checkIds(ids, parsed, origin, options.vocabSize);
  const inputIds = Int32Array.from(ids.slice(0, maxLength));
  const labels = inputIds.map((id, i) => (learned(i, id) ? labelOf(parsed, i, id) : IGNORE_INDEX));
  // The first token is never predicted: a label there alone would leave nothing to learn.
  const trains = labels.some((label, i) => i > 0 && label !== IGNORE_INDEX);
  return {
    example: trains ? { inputIds, labels } : null,
    truncated: ids.length > maxLength,
    boundaryMerged,
  };
}

const labelOf = (row: SftRow, index: number, id: number): number =>
  row.kind === 'tokens' && row.labels ? row.labels[index]! : id;

function tokens(row: SftRow, origin: string, options: TokenizeOptions): Tokens {
  if (row.kind === 'tokens') return { ids: row.inputIds };
  const { tokenizer, completionOnlyLoss, assistantOnlyLoss } = options;
  if (!tokenizer)
    throw new AttuneError(
      'TOKENIZER_MISSING',
      `${origin}: the row is text and there is no tokenizer.`,
      {
        remedy:
          'Pass tokenizer: await AutoTokenizer.fromPretrained(...), or rows of { input_ids }.',
      },
    );
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
      const render = renderer(tokenizer, row.template);
      const whole = [...row.prompt, ...row.completion];
      const ids = render(whole, false);
      if (assistantOnly) return { ids, learned: assistantTurns(render, whole, ids, origin) };
      return completionOf(render(row.prompt, true), ids, completionOnlyLoss ?? true);
    }
    case 'messages': {
      const render = renderer(tokenizer, row.template);
      const ids = render(row.messages, false);
      if (!assistantOnly) return { ids };
      return { ids, learned: assistantTurns(render, row.messages, ids, origin) };
    }
  }
}

const withEos = (text: string, { eosToken }: TextTokenizer): string =>
  eosToken === null || text.endsWith(eosToken) ? text : text + eosToken;

type Render = (messages: Messages, addGenerationPrompt: boolean) => readonly number[];

/** The template writes special tokens itself, so none are added: no doubled BOS. */
const renderer =
  (tokenizer: TextTokenizer, template: TemplateInput): Render =>
  (messages, addGenerationPrompt) =>
    tokenizer.encode(
      tokenizer.applyChatTemplate(messages, { ...template, tokenize: false, addGenerationPrompt }),
      { addSpecialTokens: false },
    );

function completionOf(prompt: readonly number[], ids: readonly number[], only: boolean): Tokens {
  const start = commonPrefix(prompt, ids);
  return {
    ids,
    learned: (i) => !only || i >= start,
    boundaryMerged: start < prompt.length,
  };
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < Math.min(a.length, b.length) && a[length] === b[length]) length++;
  return length;
}

/**
 * Which tokens the assistant says, for any template: a turn begins where the conversation before it,
 * with the generation prompt, ends, and lasts as long as the conversation with it agrees.
 */
function assistantTurns(
  render: Render,
  messages: Messages,
  ids: readonly number[],
  origin: string,
): (index: number) => boolean {
  const spans: [number, number][] = [];
  messages.forEach((message, i) => {
    if (message.role !== 'assistant' || i === 0) return;
    const before = render(messages.slice(0, i), true);
    const until = render(messages.slice(0, i + 1), false);
    spans.push([commonPrefix(before, ids), commonPrefix(until, ids)]);
  });
  if (!spans.some(([start, end]) => start < end))
    throw new AttuneError(
      'NO_COMPLETION',
      `${origin}: only the assistant's words are to be learned, and there are none (roles: ${messages.map((m) => m.role).join(', ')}).`,
      { remedy: 'Give conversations with an "assistant" message after the first.' },
    );
  return (index) => spans.some(([start, end]) => index >= start && index < end);
}

function checkIds(ids: readonly number[], row: SftRow, origin: string, vocabSize: number): void {
  const check = (id: number, what: string) => {
    if (id < vocabSize && id >= 0) return;
    throw new AttuneError(
      'VOCAB_MISMATCH',
      `${origin}: ${what} ${id} is outside of the model's embedding of ${vocabSize} rows${row.kind === 'tokens' ? '' : `; the tokenizer's vocabulary has at least ${id + 1} entries`}.`,
      {
        remedy: 'Use the tokenizer that belongs to the model.',
        details: { id, vocabSize },
      },
    );
  };
  for (const id of ids) check(id, 'token id');
  if (row.kind === 'tokens')
    for (const label of row.labels ?? []) if (label !== IGNORE_INDEX) check(label, 'label');
}
