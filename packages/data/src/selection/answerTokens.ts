import type { AskedTokens } from '../models/answerLosses.js';
import { numAsked } from '../models/answerLosses.js';
import type { Encoder } from '../models/modelChoice.js';

/** An answer behind a prompt and behind the direct prompt, as ids. */
export interface AnswerTokens {
  readonly conditioned: AskedTokens;
  readonly direct: AskedTokens;
  /** Whether tokens of the answer had to go. */
  readonly isCut: boolean;
}

/** A prompt that leaves no room for a token of the answer. */
export interface NoRoom {
  readonly promptTokens: number;
}

/** Ids with what the tokenizer puts in front of a text, without an EOS behind it. */
export function encoderWithoutEos(tokenizer: Encoder): (text: string) => readonly number[] {
  const { eosTokenId = null, bosTokenId = null } = tokenizer;
  const around = tokenizer.encode('');
  const isBos = around.length === 1 && around[0] === bosTokenId;
  if (eosTokenId === null || around.at(-1) !== eosTokenId || isBos)
    return (text) => tokenizer.encode(text);
  return (text) => tokenizer.encode(text).slice(0, -1);
}

/**
 * The tokens of an answer in both passes. The prompt is tokenised alone to find where the answer
 * starts, P tokens in; so of the answer `maxLength - P` tokens are left, in both passes.
 */
export function answerTokens(
  encode: (text: string) => readonly number[],
  { prompt, direct, answer }: { readonly prompt: string; readonly direct: string; answer: string },
  maxLength: number,
): AnswerTokens | NoRoom {
  const promptTokens = encode(prompt).length;
  const room = maxLength - promptTokens;
  const cut = (before: string, start: number) => {
    const ids = encode(before + answer);
    return { ids: ids.slice(0, start + room), start, isCut: ids.length > start + room };
  };
  if (room < 1) return { promptTokens };
  const { isCut, ...conditioned } = cut(prompt, promptTokens);
  const alone = cut(direct, encode(direct).length);
  return { conditioned, direct: alone, isCut: isCut || alone.isCut };
}

/** Whether both passes have a token to score. */
export const hasAnswer = ({ conditioned, direct }: AnswerTokens): boolean =>
  numAsked(conditioned) > 0 && numAsked(direct) > 0;
