import type { LLMFinishReason } from '../providers/llmProvider.js';

/** Words that say nothing by themselves. */
const STOP_WORDS = new Set(
  'a an and are as at be but by for from has have he her his i in is it its me my of on or our she so that the their them there they this to was we were what which who will with you your'.split(
    ' ',
  ),
);

export const words = (text: string): string[] => text.match(/[\p{L}\p{M}\p{N}']+/gu) ?? [];

/** What stands between spaces; in scripts without spaces, each character. */
export const spacedWords = (text: string): string[] =>
  text.replace(UNSPACED, ' $& ').match(/\S+/g) ?? [];

const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/gu;

/** Letters and digits in lower case: what is left where only signs, case and spaces differ. */
export const bareText = (text: string): string =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, ' ')
    .trim();

/** Nothing but signs and stop words. */
export const saysNothing = (text: string): boolean =>
  words(text).every((word) => STOP_WORDS.has(word.toLowerCase()));

/** An answer of at least so many words may well say "sorry". */
const LONG_ANSWER = 80;

/** Words of a model that does not do what it was asked: "sorry" and its like, in a short answer. */
export const isRefusal = (text: string): boolean =>
  words(text).length < LONG_ANSWER &&
  /\bsorry\b|\bas an ai\b|\bas a language model\b|\b(?:i|we) (?:cannot|can't|can’t|am unable to|am not able to|won't|won’t) (?:assist|help|comply|fulfil|fulfill|provide|answer|do that)\b/i.test(
    text,
  );

/**
 * What is wrong with a text that a model wrote, by what can be seen of it; null: nothing.
 *
 * @param mayApologise whether "sorry" may well be part of what it was asked for
 */
export function textFault(
  text: string,
  finishReason: LLMFinishReason | undefined,
  mayApologise = false,
): 'empty' | 'filtered' | 'cut off' | 'a refusal' | null {
  if (finishReason === 'content_filter') return 'filtered';
  if (saysNothing(text)) return 'empty';
  if (finishReason === 'length') return 'cut off';
  return isRefusal(text) && !mayApologise ? 'a refusal' : null;
}

/** What models put around a text that they were asked for alone. */
export const unwrapped = (text: string): string =>
  text
    .trim()
    .replace(/^```\w*\n([\s\S]*)\n```$/, '$1')
    .replace(/^(["“])([\s\S]*)["”]$/, (whole, _, inner: string) =>
      /["“”]/.test(inner) ? whole : inner,
    )
    .trim();
