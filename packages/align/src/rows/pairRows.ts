import type { Row, TokenExample } from '@attune/core';
import { checkTokenIds, type TextTokenizer, withoutNulls } from '@attune/core/text';
import type { EncodedRow, RowRules } from '@attune/core/training';
import { briefly, type OptionsInput, parseOptions, sameValue, z } from '@attune/core/util';
import { type CutSequence, cutSequence } from './answerExample.js';
import { answerPreflight, pairConditions, seenTexts } from './answerPreflight.js';
import { type PromptWithAnswers, readAnswers } from './readAnswers.js';
import { pairFormat, pairNames } from './readPair.js';
import { fieldsOf, rowError, unusedColumns } from './rowErrors.js';
import { answerRowShape } from './rowOptions.js';
import {
  type SplitAnswers,
  type SplitSequence,
  splitAnswers,
  wholeSequences,
} from './splitAnswers.js';

/** A preference pair, tokenised: a prompt with each of its answers. */
export interface PairExample {
  /** The prompt and the answer that was preferred; labels on the answer. */
  readonly chosen: TokenExample;
  /** The prompt and the other answer. */
  readonly rejected: TokenExample;
  /** Tokens of the prompt, which both begin with; 0 where texts are scored whole. */
  readonly promptLength: number;
  /** By how much the one is better, where the row says so. */
  readonly margin?: number;
}

const pairRowShape = {
  ...answerRowShape,
  /**
   * 'answers': the labels are on the answers, and what is too long is cut off. 'texts': whole texts
   * are scored, for reward models; rows with one that is too long are left out, as TRL's
   * RewardTrainer does. Default 'answers'.
   */
  scored: z.enum(['answers', 'texts']).default('answers'),
};
const pairRowOptions = z.strictObject(pairRowShape);

/** Options of {@link pairRows}. */
export type PairRowOptions = OptionsInput<typeof pairRowShape>;

/**
 * Rules for rows of preference pairs: a prompt, the answer that was preferred, and another one, as
 * TRL 1.16 tokenises them.
 *
 * Deviations: an implicit prompt is what both answers share, also where one is the beginning of the
 * other (`sharedText`); no answer is ever cut to nothing, with `tokenization: 'cpo'` either.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function pairRows(options: PairRowOptions): RowRules<PairExample> {
  const checked = parseOptions(pairRowOptions, options, { where: 'pairRows' });
  const { maxLength, truncationMode, tokenization, scored, preflight: setting } = checked;
  const isWhole = scored === 'texts';
  return {
    fingerprint: {
      maxLength: Number.isFinite(maxLength) ? maxLength : 'none',
      truncationMode,
      tokenization,
      scored,
    },
    isPreflightOn: setting !== 'off',
    preflight: (...of) => answerPreflight(setting, maxLength, pairConditions, ...of),
    lengthOf: ({ chosen, rejected }) => Math.max(chosen.inputIds.length, rejected.inputIds.length),
    encode(row, { model, tokenizer, origin, preflight }): EncodedRow<PairExample> {
      const { read, notes: remarks } = readAnswers(row, origin, pairNames, pairFormat, !isWhole);
      const margin = marginOf(row, origin);
      const split = isWhole
        ? wholeSequences(read, tokenizer, origin)
        : splitAnswers(read, tokenizer, origin, tokenization);
      for (const { ids } of split.sequences)
        checkTokenIds(ids, model.config.vocabSize, origin, {
          fromTokenizer: read.kind !== 'tokens',
        });
      const conditions = conditionsOf(read, tokenizer);
      const notes = [...remarks, ...conditions.map((name) => pairConditions[name]!.label)];
      const cut = split.sequences.map((one) =>
        isWhole ? wholeSequence(one) : cutSequence(one, maxLength, truncationMode),
      );
      const refusal = isWhole
        ? tooLong(cut, maxLength)
        : unusable(split, cut, maxLength, truncationMode === 'keep_start');
      const seen = { read, split, cut, maxLength, isLeftOut: refusal !== null };
      const columns = unusedColumns(row as Row, pairFormat);
      preflight?.add(origin, seenTexts(seen, pairNames, columns, isWhole), conditions);
      if (split.isMerged) notes.push(MERGED);
      if (refusal !== null) return { example: null, notes: [...notes, refusal] };
      if (cut.some(({ isCut }) => isCut)) notes.push(cutOff(maxLength));
      const [chosen, rejected] = cut as [CutSequence, CutSequence];
      return {
        example: {
          chosen: chosen.example,
          rejected: rejected.example,
          promptLength: Math.min(chosen.promptLength, rejected.promptLength),
          ...(margin !== undefined && { margin }),
        },
        notes,
      };
    },
  };
}

export const MERGED =
  'the prompt alone ends in other tokens than before its answer: from there on they are scored with the answer';
export const cutOff = (maxLength: number): string =>
  `an answer is cut off after ${maxLength} tokens`;

/** Why nothing is left of a row to compare; null: something is. */
export function unusable(
  { sequences }: SplitAnswers,
  cut: readonly CutSequence[],
  maxLength: number,
  keepsStart: boolean,
): string | null {
  if (keepsStart && sequences.some(({ promptLength }) => promptLength >= maxLength))
    return `the prompt alone fills the ${maxLength} tokens of maxLength`;
  if (cut.every(({ isScored }) => isScored)) return null;
  return sequences.some(({ ids, promptLength }) => ids.length === promptLength)
    ? 'an answer has no tokens'
    : 'an answer is one token with nothing before it';
}

/** Names of the conditions that a row is in. */
export function conditionsOf(read: PromptWithAnswers, tokenizer: TextTokenizer | null): string[] {
  const isEqual = read.answers.length > 1 && sameValue(read.answers[0], read.answers[1]);
  const isEmpty =
    read.kind === 'text' &&
    read.answers.some((text) => text === '' || text === tokenizer?.eosToken);
  return [...(isEqual ? ['equal-pairs'] : []), ...(isEmpty ? ['empty-answers'] : [])];
}

/** All of a sequence, for a model that scores texts: nothing of it is a prompt. */
function wholeSequence({ ids }: SplitSequence): CutSequence {
  const inputIds = Int32Array.from(ids);
  return { example: { inputIds, labels: inputIds }, promptLength: 0, isCut: false, isScored: true };
}

function tooLong(whole: readonly CutSequence[], maxLength: number): string | null {
  const lengths = whole.map(({ example }) => example.inputIds.length);
  if (lengths.some((length) => length > maxLength))
    return `a text is longer than the ${maxLength} tokens of maxLength`;
  return lengths.includes(0) ? 'a text has no tokens' : null;
}

function marginOf(row: unknown, origin: string): number | undefined {
  const { margin } = withoutNulls(fieldsOf(row, origin, pairFormat));
  if (margin === undefined) return undefined;
  if (typeof margin === 'number' && Number.isFinite(margin)) return margin;
  throw rowError(
    origin,
    `"margin" is to be a finite number; it is ${briefly(margin, 60)}.`,
    pairFormat,
  );
}
