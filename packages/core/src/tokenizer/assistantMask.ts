import { z } from 'zod';
import { AttuneError } from '../util/errors.js';
import type { OptionsInput } from '../util/options.js';
import { type ChatMessage, contextShape, type Span } from './chatTemplate.js';
import { joinText } from './messageParts.js';

type Messages = readonly ChatMessage[];

const chatTemplateShape = {
  /**
   * The name of one of the tokenizer's templates, or a template. Default: see
   * `Tokenizer.chatTemplate`.
   */
  chatTemplate: z.string().nullish().meta({ aka: 'template' }),
};
export const templateInputShape = { ...contextShape, ...chatTemplateShape };

/** What a row gives to the chat template beside its messages. */
export type TemplateInput = OptionsInput<typeof contextShape> &
  OptionsInput<typeof chatTemplateShape>;

/** What finding the assistant's tokens asks of a tokenizer. */
export interface ChatTokenizer {
  encode(text: string, options: { readonly addSpecialTokens: boolean }): readonly number[];
  applyChatTemplate(
    messages: Messages,
    options: TemplateInput & {
      readonly tokenize: false;
      readonly addGenerationPrompt?: boolean;
      readonly continueFinalMessage?: boolean;
    },
  ): string;
  /** Where `{% generation %}` blocks wrote; null when the template has none. */
  generationSpans?(messages: Messages, options?: TemplateInput): readonly Span[] | null;
  /**
   * Ids of a text without added special tokens, and which of them hold a part of a span; null when
   * they cannot be laid along the text.
   */
  encodeSpans?(
    text: string,
    spans: readonly Span[],
  ): { readonly ids: readonly number[]; readonly inside: readonly boolean[] } | null;
}

/** The tokens of a conversation, and which of them the assistant wrote. */
export interface AssistantMask {
  /** The whole conversation. */
  readonly ids: readonly number[];
  /** For each id, whether the assistant wrote it. */
  readonly mask: readonly boolean[];
}

/**
 * A conversation's tokens and which of them the assistant wrote: what `{% generation %}` marks,
 * where the template has it, as transformers' `return_assistant_tokens_mask`. With any other
 * template a turn begins where the conversation before it, with the generation prompt, ends, and
 * ends where the conversation up to it ends. Both must be the beginning of the whole text; else it
 * is not known what the assistant wrote, and that is an error.
 *
 * A token that lies across the edge of a turn belongs to it.
 *
 * @param origin what errors begin with: "train.jsonl:12"
 * @param isLearned of which messages of the assistant; default all
 * @throws TEMPLATE_PREFIX when the template renders earlier messages otherwise once others follow
 */
export function assistantMask(
  tokenizer: ChatTokenizer,
  messages: Messages,
  template: TemplateInput,
  origin: string,
  isLearned: (message: number) => boolean = () => true,
): AssistantMask {
  const text = tokenizer.applyChatTemplate(messages, { ...template, tokenize: false });
  const marked = tokenizer.generationSpans?.(messages, template) ?? null;
  const spans =
    (marked && learnedSpans(marked, messages, isLearned)) ??
    spansByPrefix(tokenizer, messages, template, text, origin)
      .filter(({ message }) => isLearned(message))
      .map(({ span }) => span);
  const laid = tokenizer.encodeSpans?.(text, spans);
  if (laid) return { ids: laid.ids, mask: laid.inside };
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  return { ids, mask: maskByPrefix(tokenizer, text, ids, spans) };
}

/** The marked spans that belong to learned messages; null where it is not known which is whose. */
function learnedSpans(
  marked: readonly Span[],
  messages: Messages,
  isLearned: (message: number) => boolean,
): readonly Span[] | null {
  const turns = [...messages.keys()].filter((i) => messages[i]!.role === 'assistant');
  if (turns.every(isLearned)) return marked;
  return marked.length === turns.length ? marked.filter((_, i) => isLearned(turns[i]!)) : null;
}

function spansByPrefix(
  tokenizer: ChatTokenizer,
  messages: Messages,
  template: TemplateInput,
  text: string,
  origin: string,
): { readonly message: number; readonly span: Span }[] {
  const upTo = (count: number, addGenerationPrompt: boolean): number => {
    const part = tokenizer.applyChatTemplate(messages.slice(0, count), {
      ...template,
      tokenize: false,
      addGenerationPrompt,
    });
    if (text.startsWith(part)) return part.length;
    throw notAPrefix(part, text, count, addGenerationPrompt, origin);
  };
  const spans: { readonly message: number; readonly span: Span }[] = [];
  for (const [i, { role }] of messages.entries())
    if (role === 'assistant') {
      const start =
        i > 0
          ? upTo(i, true)
          : startOfContent(tokenizer, messages[0]!, messages.slice(1), template, text);
      const end = i === messages.length - 1 ? text.length : upTo(i + 1, false);
      spans.push({ message: i, span: [start, end] });
    }
  return spans;
}

/**
 * Where the words of a conversation's first message begin. Most templates cannot render no
 * messages, so there is nothing before it to compare with; but texts that differ in those words
 * alone agree up to them.
 */
function startOfContent(
  tokenizer: ChatTokenizer,
  first: ChatMessage,
  rest: Messages,
  template: TemplateInput,
  text: string,
): number {
  const said = joinText(first).content;
  const other = typeof said === 'string' && said.trimStart().startsWith('A') ? 'B' : 'A';
  const content = Array.isArray(first.content) ? [{ type: 'text', text: other }] : other;
  const changed = tokenizer.applyChatTemplate([{ ...first, content }, ...rest], {
    ...template,
    tokenize: false,
  });
  return commonPrefix(text, changed);
}

function notAPrefix(
  part: string,
  whole: string,
  count: number,
  prompt: boolean,
  origin: string,
): AttuneError {
  const at = commonPrefix(part, whole);
  const show = (text: string) =>
    JSON.stringify(`${at > 30 ? '...' : ''}${text.slice(Math.max(at - 30, 0), at + 60)}`);
  return new AttuneError(
    'TEMPLATE_PREFIX',
    `${origin}: the chat template does not say what the assistant wrote. Its first ${count} messages${prompt ? ' with the generation prompt' : ''} render as ${show(part)}, but within the whole conversation as ${show(whole)}.`,
    {
      remedy:
        'Put {% generation %} ... {% endgeneration %} around what the assistant writes and set tokenizer.chatTemplate to that, or give rows of { prompt, completion } (lists of messages), one for each turn. Templates that drop earlier thinking (Qwen 3) always need one of these for more than one turn.',
      details: { origin, messages: count, rendered: part, whole, differsAt: at },
    },
  );
}

/** How many items two lists, or characters two texts, share at their beginning. */
export function commonPrefix<T>(a: ArrayLike<T>, b: ArrayLike<T>): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}

/**
 * Tokens of spans where they cannot be laid along the text: ids agree up to where a part of it
 * ends.
 */
function maskByPrefix(
  tokenizer: ChatTokenizer,
  text: string,
  ids: readonly number[],
  spans: readonly Span[],
): boolean[] {
  const mask = new Array<boolean>(ids.length).fill(false);
  for (const [start, end] of spans) {
    const [before, until] = [start, end].map((n) =>
      tokenizer.encode(text.slice(0, n), { addSpecialTokens: false }),
    ) as [readonly number[], readonly number[]];
    const last = commonPrefix(until, ids);
    // Where the end lies within a token, that token too.
    mask.fill(true, commonPrefix(before, ids), last < until.length ? last + 1 : last);
  }
  return mask;
}
