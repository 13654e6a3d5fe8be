import type { Asking } from '../providers/asking.js';
import type { LLMMessage } from '../providers/llmProvider.js';
import { askAgain, type Judged, pairMessages, scoreMessages } from './judgePrompts.js';
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
  /** null: no words of it could be read. */
  readonly verdict: V | null;
  /** Its last words; those of its provider where that refused to ask it. */
  readonly words: string;
  /** Times it had to be asked. */
  readonly asked: number;
}

async function askUntilRead<V>(
  judge: Asking,
  messages: readonly LLMMessage[],
  mode: 'pairwise' | 'score',
  read: (text: string) => V | null,
  { maxParseRetries, ...sampling }: JudgeManner,
): Promise<Finding<V>> {
  let conversation = messages;
  for (let asked = 1; ; asked++) {
    const { completion, refusal } = await judge.ask({ messages: conversation, ...sampling });
    if (refusal) return { verdict: null, words: refusal.detail, asked };
    const words = completion.texts[0]!.trim();
    const verdict = read(words);
    if (verdict !== null || asked > maxParseRetries) return { verdict, words, asked };
    // A longer conversation is another request: what is kept of the last is not taken for it.
    conversation = [...conversation, ...askAgain(words, mode)];
  }
}

/** Which of two answers is better, in this order. */
export const judgePair = (
  judge: Asking,
  judged: Judged,
  [a, b]: readonly [string, string],
  manner: JudgeManner,
): Promise<Finding<PairVerdict>> =>
  askUntilRead(judge, pairMessages(judged, a, b), 'pairwise', readPairVerdict, manner);

/** How good an answer is, 1 to 10. */
export const judgeScore = (
  judge: Asking,
  judged: Judged,
  answer: string,
  manner: JudgeManner,
): Promise<Finding<number>> =>
  askUntilRead(judge, scoreMessages(judged, answer), 'score', readScore, manner);
