import type { LanguageModel } from '@attune/core';
import {
  PREFLIGHT_CHECKS,
  PREFLIGHT_MAX_ROWS,
  Preflight,
  type PreflightFacts,
  type PreflightProblem,
  type RowCondition,
  type TextTokenizer,
  type TokenizedRow,
} from '@attune/core/text';
import type { RowUse } from '@attune/core/training';
import { z } from '@attune/core/util';
import type { CutSequence } from './answerExample.js';
import type { PromptWithAnswers } from './readAnswers.js';
import type { SplitAnswers } from './splitAnswers.js';

/**
 * What a run on preference rows is refused for beside `PREFLIGHT_CHECKS`:
 * - `equal-pairs`: chosen and rejected are equal in every row;
 * - `empty-answers`: every row has an answer that is empty.
 *
 * Said and not refused: that all labels are true, or all false (`wanted`, `unwanted`).
 */
export const ANSWER_CHECKS = [...PREFLIGHT_CHECKS, 'equal-pairs', 'empty-answers'] as const;
/** What a run on preference rows may be refused for, by name. */
export type AnswerCheck = (typeof ANSWER_CHECKS)[number];

/** What is shown of preference rows, and which checks are said and not refused. */
export interface AnswerPreflightOptions {
  /** Rows to show, at most 100. Default 3. */
  readonly rows?: number | undefined;
  /** Checks that are said and not refused. Default none. */
  readonly allow?: readonly AnswerCheck[] | undefined;
}
/** 'off': nothing is shown or refused. Default 'on'. */
export type AnswerPreflightSetting = 'on' | 'off' | AnswerPreflightOptions;

const answerPreflightOptions = z.strictObject({
  rows: z.int().min(0).max(PREFLIGHT_MAX_ROWS).optional(),
  allow: z.array(z.enum(ANSWER_CHECKS)).readonly().optional(),
});

/** Under its name: inlined, the options of it would lose their documentation in declarations. */
export const answerPreflightSetting: z.ZodType<AnswerPreflightSetting, AnswerPreflightSetting> =
  z.union([z.enum(['on', 'off']), answerPreflightOptions], {
    error: `expected "on", "off", or { rows: 0 to ${PREFLIGHT_MAX_ROWS}, allow: a list of ${ANSWER_CHECKS.map((c) => `"${c}"`).join(', ')} }`,
  });

/** Conditions of every row of answers. */
export const emptyAnswers: RowCondition = {
  label: 'an answer is empty but for its end token',
  message: 'every row has an answer that is empty, so that only when to stop would be learned.',
  remedy: 'Look at the columns of the answers: they are likely not the ones that were meant.',
};

/** The conditions that preference pairs may be in. */
export const pairConditions: Readonly<Record<string, RowCondition>> = {
  'equal-pairs': {
    label: 'chosen and rejected are equal',
    message: 'chosen and rejected are equal in every row: nothing says which is better.',
    remedy: 'Look at how the pairs were made: the same column was likely read twice.',
  },
  'empty-answers': emptyAnswers,
};

const oneClass = (label: string, is: string): RowCondition => ({
  label,
  message: `every label is ${is}: answers are only ${label === 'wanted' ? 'drawn nearer' : 'pushed away'}, and there is nothing to tell them apart from.`,
  remedy: 'Give rows of both labels, or train on good answers alone with SFTTrainer.',
  isRefused: false,
});

/** The conditions that labelled answers may be in. */
export const labelConditions: Readonly<Record<string, RowCondition>> = {
  wanted: oneClass('wanted', 'true'),
  unwanted: oneClass('unwanted', 'false'),
  'empty-answers': emptyAnswers,
};

/** The preflight of rows of answers. */
export const answerPreflight = (
  setting: AnswerPreflightSetting,
  maxLength: number,
  conditions: Readonly<Record<string, RowCondition>>,
  model: LanguageModel,
  tokenizer: TextTokenizer | null,
  use: RowUse,
  title: string,
  judge?: (facts: PreflightFacts) => readonly PreflightProblem[],
): Preflight =>
  new Preflight({
    ...(typeof setting === 'object' ? setting : {}),
    use,
    title,
    tokenizer,
    eosTokenIds: model.config.eosTokenId,
    maxLength,
    conditions,
    word: 'scored',
    ...(judge && { judge }),
  });

/** A row on its way to an example. */
export interface SeenRow {
  readonly read: PromptWithAnswers;
  readonly split: SplitAnswers;
  readonly cut: readonly CutSequence[];
  readonly maxLength: number;
  readonly isLeftOut: boolean;
}

/**
 * What a preflight sees of each sequence of a row.
 *
 * @param parts their names; none for the only one
 * @param columns that have no place in the row as it was read
 * @param isWhole whether texts are scored whole, so that they are no answers that have to end
 */
export function seenTexts(
  { read, split, cut, maxLength, isLeftOut }: SeenRow,
  parts: readonly string[],
  columns: readonly string[],
  isWhole = false,
): TokenizedRow[] {
  const kinds = { text: 'prompt', chat: 'chatPrompt', tokens: 'tokens' } as const;
  const { isMerged } = split;
  return cut.map(({ example }, i) => {
    const { ids, promptLength } = split.sequences[i]!;
    return {
      example: isLeftOut ? null : example,
      tokens: example,
      kind: isWhole ? 'text' : kinds[read.kind],
      truncated: ids.length > maxLength,
      boundaryMerged: isMerged,
      promptMismatch: null,
      unusedColumns: columns,
      ...(isMerged && { promptEnd: split.promptAlone.slice(promptLength) }),
      ...(parts[i] && { part: parts[i] }),
    };
  });
}
