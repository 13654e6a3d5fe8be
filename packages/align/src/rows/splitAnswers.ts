import {
  commonPrefix,
  type Messages,
  type TemplateInput,
  type TextTokenizer,
  tokenizerMissing,
  withEos,
} from '@attune/core/text';
import type { PromptWithAnswers } from './readAnswers.js';

/**
 * How a prompt and its answers become ids:
 * - `dpo`: special tokens as the tokenizer and the chat template write them, an EOS after plain
 *   answers; one prompt for all answers (TRL's DPO, KTO and Reward);
 * - `cpo`: as TRL's experimental CPO and ORPO: a BOS before and an EOS after each sequence that
 *   lacks it, conversations included; each answer has its own prompt, which loses at most one token
 *   at its end.
 */
export const TOKENIZATIONS = ['dpo', 'cpo'] as const;
export type Tokenization = (typeof TOKENIZATIONS)[number];

/** A prompt and one answer as one sequence. */
export interface SplitSequence {
  readonly ids: readonly number[];
  /** Its answer begins here. */
  readonly promptLength: number;
}

/** A prompt and its answers, tokenised. */
export interface SplitAnswers {
  readonly sequences: readonly SplitSequence[];
  /** Ids of the prompt alone, as a model meets them that is asked to answer. */
  readonly promptAlone: readonly number[];
  /**
   * The prompt alone ends in other tokens than before an answer: these tokens belong to the answer.
   */
  readonly isMerged: boolean;
}

/**
 * The prompt ends at the longest common prefix, in tokens, of the prompt alone and of the prompt
 * with each answer: the shortest of these. What is left of the prompt belongs to the answers.
 *
 * @throws TOKENIZER_MISSING, CHAT_TEMPLATE
 */
export function splitAnswers(
  read: PromptWithAnswers,
  tokenizer: TextTokenizer | null,
  origin: string,
  tokenization: Tokenization = 'dpo',
): SplitAnswers {
  if (read.kind === 'tokens')
    return {
      sequences: read.answers.map((ids) => ({
        ids: [...read.promptIds, ...ids],
        promptLength: read.promptIds.length,
      })),
      promptAlone: read.promptIds,
      isMerged: false,
    };
  if (!tokenizer) throw tokenizerMissing(origin, '{ prompt_ids, chosen_ids, rejected_ids }');
  if (tokenization === 'cpo') return splitEach(read, tokenizer);
  const whole = read.kind === 'text' ? wholeTexts(read, tokenizer) : wholeChats(read, tokenizer);
  const prompt = promptIds(read, tokenizer);
  const promptLength = Math.min(...whole.map((ids) => commonPrefix(prompt, ids)));
  return {
    sequences: whole.map((ids) => ({ ids, promptLength })),
    promptAlone: prompt,
    isMerged: promptLength < prompt.length,
  };
}

/**
 * Prompt and answer as one sequence each, for models that score whole texts: nothing of it is
 * looked at as a prompt.
 *
 * @throws TOKENIZER_MISSING, CHAT_TEMPLATE
 */
export function wholeSequences(
  read: PromptWithAnswers,
  tokenizer: TextTokenizer | null,
  origin: string,
): SplitAnswers {
  if (read.kind === 'tokens') return splitAnswers(read, tokenizer, origin);
  if (!tokenizer) throw tokenizerMissing(origin, '{ chosen_ids, rejected_ids }');
  const whole = read.kind === 'text' ? wholeTexts(read, tokenizer) : wholeChats(read, tokenizer);
  return {
    sequences: whole.map((ids) => ({ ids, promptLength: 0 })),
    promptAlone: [],
    isMerged: false,
  };
}

type Texts = Extract<PromptWithAnswers, { kind: 'text' }>;
type Chats = Extract<PromptWithAnswers, { kind: 'chat' }>;

const wholeTexts = ({ prompt, answers }: Texts, tokenizer: TextTokenizer) =>
  answers.map((answer) => tokenizer.encode(prompt + withEos(answer, tokenizer)));

// The template writes special tokens itself, so none are added: no doubled BOS.
const plainIds = (text: string, tokenizer: TextTokenizer) =>
  tokenizer.encode(text, { addSpecialTokens: false });

const wholeChats = ({ prompt, answers, template }: Chats, tokenizer: TextTokenizer) =>
  answers.map((answer) => plainIds(render(tokenizer, [...prompt, ...answer], template), tokenizer));

/** The prompt as a model meets it that is asked to answer. */
const promptIds = (read: Texts | Chats, tokenizer: TextTokenizer) =>
  read.kind === 'text'
    ? tokenizer.encode(read.prompt)
    : plainIds(render(tokenizer, read.prompt, read.template, true), tokenizer);

const render = (
  tokenizer: TextTokenizer,
  messages: Messages,
  template: TemplateInput,
  addGenerationPrompt = false,
): string =>
  tokenizer.applyChatTemplate(messages, { ...template, tokenize: false, addGenerationPrompt });

/** `build_tokenized_answer` and `tokenize_row` of TRL's experimental CPO. */
function splitEach(read: Texts | Chats, tokenizer: TextTokenizer): SplitAnswers {
  const { prompt, answers } = read.kind === 'text' ? read : renderEach(read, tokenizer);
  const { bosTokenId: bos = null, eosTokenId: eos = null } = tokenizer;
  const promptAlone = plainIds(prompt, tokenizer);
  let isMerged = false;
  const sequences = answers.map((answer) => {
    const whole = [...plainIds(prompt + answer, tokenizer)];
    const agrees = commonPrefix(promptAlone, whole) === promptAlone.length;
    isMerged ||= !agrees;
    const end = Math.min(agrees ? promptAlone.length : promptAlone.length - 1, whole.length);
    const before = whole.slice(0, end);
    const after = whole.slice(end);
    if (bos !== null && before[0] !== bos) before.unshift(bos);
    if (eos !== null && after.at(-1) !== eos) after.push(eos);
    return { ids: [...before, ...after], promptLength: before.length };
  });
  return { sequences, promptAlone, isMerged };
}

/**
 * Conversations as texts: the prompt with what opens the answer, or, where its last message is the
 * assistant's, left open; up to where it differs from the prompt before an answer.
 */
function renderEach({ prompt, answers, template }: Chats, tokenizer: TextTokenizer) {
  const isOpen = prompt.at(-1)?.role === 'assistant';
  const alone = tokenizer.applyChatTemplate(prompt, {
    ...template,
    tokenize: false,
    addGenerationPrompt: !isOpen,
    continueFinalMessage: isOpen,
  });
  const whole = answers.map((answer) => render(tokenizer, [...prompt, ...answer], template));
  const end = Math.min(...whole.map((text) => commonPrefix(alone, text)));
  return { prompt: alone.slice(0, end), answers: whole.map((text) => text.slice(end)) };
}
