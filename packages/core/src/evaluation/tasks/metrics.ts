import { z } from 'zod';
import { utf8Length } from '../../util/byteArrays.js';
import { checkNames, type OptionsInput } from '../../util/options.js';

/** One question: which of its choices is right by the log-likelihoods of the choices. */
export interface ChoiceScore {
  /** 1 when the likeliest choice is the right one. */
  readonly acc: number;
  /** The same with each log-likelihood divided by the characters of its choice. */
  readonly accNorm: number;
  /** The same divided by the bytes of its choice in UTF-8. */
  readonly accBytes: number;
}

/**
 * As lm_eval scores a multiple-choice question; of equal scores the first counts.
 *
 * @param logLikelihoods of each choice, nats
 * @param answer index of the right choice, or all indices that are right
 */
export function scoreChoices(
  logLikelihoods: readonly number[],
  choices: readonly string[],
  answer: number | readonly number[],
): ChoiceScore {
  const right = [answer].flat();
  const hit = (lengths: readonly number[]) => {
    const scores = logLikelihoods.map((value, i) => value / lengths[i]!);
    return right.includes(scores.indexOf(Math.max(...scores))) ? 1 : 0;
  };
  return {
    acc: hit(choices.map(() => 1)),
    // Code points, as Python counts characters.
    accNorm: hit(choices.map((choice) => [...choice].length)),
    accBytes: hit(choices.map((choice) => utf8Length(choice))),
  };
}

/** What two answers may differ in and still be the same. */
export const exactMatchShape = {
  /** Removed from both sides before they are compared, in this order. Default none. */
  regexesToIgnore: z
    .array(z.instanceof(RegExp, { error: 'expected a regular expression' }))
    .readonly()
    .default([])
    .meta({ aka: 'ignore regexes' }),
  /** Compare in lower case. Default false. */
  ignoreCase: z.boolean().default(false).meta({ aka: 'lowercase casesensitive' }),
  /** Leave out the 32 punctuation characters of ASCII. Default false. */
  ignorePunctuation: z.boolean().default(false),
  /** Leave out digits. Default false. */
  ignoreNumbers: z.boolean().default(false),
};
const exactMatchOptions = z.strictObject(exactMatchShape);

/** Options of {@link exactMatch}. */
export type ExactMatchOptions = OptionsInput<typeof exactMatchShape>;

const PUNCTUATION = /[!-/:-@[-`{-~]/g;

/**
 * 1 when both are the same text after what the options take away, else 0.
 *
 * @throws UNKNOWN_OPTION
 */
export function exactMatch(
  prediction: string,
  reference: string,
  options: ExactMatchOptions = {},
): number {
  checkNames(exactMatchOptions, options, { where: 'exactMatch' });
  const plain = (text: string) => {
    let out = text;
    for (const { source, flags } of options.regexesToIgnore ?? [])
      out = out.replace(new RegExp(source, flags.includes('g') ? flags : `${flags}g`), '');
    if (options.ignoreCase) out = out.toLowerCase();
    if (options.ignorePunctuation) out = out.replace(PUNCTUATION, '');
    if (options.ignoreNumbers) out = out.replace(/[0-9]/g, '');
    return out;
  };
  return plain(prediction) === plain(reference) ? 1 : 0;
}

/** Mean of each metric and, as `<name>Stderr`, its standard error: sample deviation / sqrt(n). */
export function meansWithErrors(
  rows: readonly Readonly<Record<string, number>>[],
): Record<string, number> {
  const out: Record<string, number> = {};
  for (const name of Object.keys(rows[0] ?? {})) {
    const values = rows.map((row) => row[name]!);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    out[name] = mean;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    if (values.length > 1)
      out[`${name}Stderr`] = Math.sqrt(squares / (values.length - 1)) / Math.sqrt(values.length);
  }
  return out;
}

/**
 * How well texts were predicted: per word and per byte of the texts, so that tokenizers can be
 * compared.
 *
 * wordPerplexity = exp(-sum ll / sum words), bitsPerByte = -sum ll / sum bytes / ln 2. Words are
 * what lies between white space.
 */
export function textPerplexities(
  texts: readonly string[],
  logLikelihoods: readonly number[],
): { wordPerplexity: number; bytePerplexity: number; bitsPerByte: number } {
  const total = logLikelihoods.reduce((sum, value) => sum + value, 0);
  const words = texts.reduce((n, text) => n + text.split(/\s+/).length, 0);
  const bytes = texts.reduce((n, text) => n + utf8Length(text), 0);
  return {
    wordPerplexity: Math.exp(-total / words),
    bytePerplexity: Math.exp(-total / bytes),
    bitsPerByte: -total / bytes / Math.LN2,
  };
}
