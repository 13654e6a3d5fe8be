import type { Messages } from '@attune/core/text';
import { commonPrefix } from '@attune/core/text';
import { sameValue } from '@attune/core/util';

/** Texts or conversations, cut where they begin to differ. */
export interface ImplicitPrompt<T> {
  readonly prompt: T;
  readonly answers: readonly T[];
}

/**
 * The beginning that texts share is their prompt. A space before the first difference goes with the
 * answers, whose first token it belongs to.
 *
 * TRL's `extract_prompt` (1.16) is one character short where one text is the beginning of the other
 * or all of it, and takes the last character for the one before the first. Here the prompt is what
 * is shared in these cases too, so that the shorter answer is empty: its end token is scored.
 */
export function sharedText(texts: readonly string[]): ImplicitPrompt<string> {
  const [first = '', ...others] = texts;
  let end = Math.min(first.length, ...others.map((text) => commonPrefix(first, text)));
  // Half of a character outside of the basic plane is no character.
  if (isHighSurrogate(first.charCodeAt(end - 1))) end--;
  if (first[end - 1] === ' ') end--;
  return { prompt: first.slice(0, end), answers: texts.map((text) => text.slice(end)) };
}

const isHighSurrogate = (code: number): boolean => code >= 0xd800 && code <= 0xdbff;

/**
 * The messages that conversations share are their prompt; at least the last message of each is its
 * answer.
 */
export function sharedMessages(conversations: readonly Messages[]): ImplicitPrompt<Messages> {
  const [first = [], ...others] = conversations;
  const longest = Math.min(...conversations.map((messages) => messages.length)) - 1;
  let end = 0;
  while (end < longest && others.every((messages) => sameValue(messages[end], first[end]))) end++;
  return {
    prompt: first.slice(0, end),
    answers: conversations.map((messages) => messages.slice(end)),
  };
}
