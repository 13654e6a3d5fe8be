import type { Asking } from '../providers/asking.js';
import type { LLMMessage } from '../providers/llmProvider.js';
import type { Refusal } from '../providers/refusal.js';
import {
  askAgain,
  type Judged,
  PAIR_FORM,
  pairMessages,
  SCORE_FORM,
  scoreMessages,
} from './judgePrompts.js';
import { type PairVerdict, readPairVerdict, readScore } from './readVerdict.js';

/** How a judge is asked. */
export interface JudgeManner {
  readonly temperature: number;
  readonly maxTokens: number;
  readonly seed: number;
  /** Times that words without a verdict are answered with "again". */
  readonly maxParseRetries: number;
}

/** What a judge found. */
export interface Finding<V> {
  /** null: no words of it could be read, or it was not answered. */
  readonly verdict: V | null;
  /** Its last words; those of its provider where that refused to ask it. */
  readonly words: string;
  /** Why its provider did not answer; null: it did. */
  readonly refusal: Refusal | null;
  /** Times it had to be asked. */
  readonly asked: number;
}

/**
 * Asks until the words hold a verdict, or the request is refused.
 *
 * @param form what the reply is to be, for those that cannot be read
 */
export async function askUntilRead<V>(
  judge: Asking,
  messages: readonly LLMMessage[],
  form: string,
  read: (text: string) => V | null,
  { maxParseRetries, ...sampling }: JudgeManner,
): Promise<Finding<V>> {
  let conversation = messages;
  for (let asked = 1; ; asked++) {
    const { completion, refusal } = await judge.ask({ messages: conversation, ...sampling });
    if (refusal) return { verdict: null, words: refusal.detail, refusal, asked };
    const words = completion.texts[0]!.trim();
    const verdict = read(words);
    if (verdict !== null || asked > maxParseRetries)
      return { verdict, words, refusal: null, asked };
    // A longer conversation is another request: what is kept of the last is not taken for it.
    conversation = [...conversation, ...askAgain(words, form)];
  }
}

/** Which of two answers is better, in this order. */
export const judgePair = (
  judge: Asking,
  judged: Judged,
  [a, b]: readonly [string, string],
  manner: JudgeManner,
): Promise<Finding<PairVerdict>> =>
  askUntilRead(judge, pairMessages(judged, a, b), PAIR_FORM, readPairVerdict, manner);

/** How good an answer is, 1 to 10. */
export const judgeScore = (
  judge: Asking,
  judged: Judged,
  answer: string,
  manner: JudgeManner,
): Promise<Finding<number>> =>
  askUntilRead(judge, scoreMessages(judged, answer), SCORE_FORM, readScore, manner);
