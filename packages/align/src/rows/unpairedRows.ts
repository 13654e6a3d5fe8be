import type { Row, TokenExample } from '@attune/core';
import {
  checkTokenIds,
  type PreflightFacts,
  type PreflightProblem,
  withoutNulls,
} from '@attune/core/text';
import type { EncodedRow, RowRules } from '@attune/core/training';
import { briefly, type OptionsInput, parseOptions, z } from '@attune/core/util';
import { cutSequence } from './answerExample.js';
import { answerPreflight, labelConditions, seenTexts } from './answerPreflight.js';
import { adviseLabelWeights, type LabelBalance } from './labelWeights.js';
import { conditionsOf, cutOff, MERGED, unusable } from './pairRows.js';
import { columnsOf, readAnswers } from './readAnswers.js';
import { fieldsOf, missingColumn, type RowFormat, rowError, unusedColumns } from './rowErrors.js';
import { answerRowShape } from './rowOptions.js';
import { splitAnswers } from './splitAnswers.js';

/** A prompt, one answer, and whether it is wanted. */
export interface UnpairedExample {
  /** The prompt with its answer; labels on the answer. */
  readonly text: TokenExample;
  /** Whether the answer is one to learn; else one to unlearn. */
  readonly isDesirable: boolean;
  readonly promptIds: Int32Array;
  /** All of the answer, also what `text` has no room for. */
  readonly completionIds: Int32Array;
  /** The prompt with the answer of another row, for the KL term, where one comes with it. */
  readonly mismatched?: TokenExample;
}

const NAMES = ['completion'] as const;

const format: RowFormat = {
  what: 'an unpaired preference',
  accepted:
    '{ prompt, completion, label } with a label of true or false, the others texts or lists of messages; ' +
    '{ prompt_ids, completion_ids, label }; preference pairs through unpairPreferences(rows)',
  columns: [...columnsOf(NAMES), 'label'],
};

const unpairedRowShape = {
  ...answerRowShape,
  /**
   * Whose answer stands in the KL term of a row: 'batch': that of the row before it in its batch,
   * as in TRL, which takes a fixed order; 'dataset': that of the row half a window of 1000 before
   * it, for batches of one and shuffled rows. Default 'batch'.
   */
  klPairs: z.enum(['batch', 'dataset']).default('batch').meta({ aka: 'kl mismatched' }),
  /**
   * Weights of the loss, to be compared with how many labels are true and false. Default: nothing
   * is said of them.
   */
  weights: z
    .strictObject({ desirableWeight: z.number().min(0), undesirableWeight: z.number().min(0) })
    .optional(),
};
const unpairedRowOptions = z.strictObject(unpairedRowShape);

/** Options of {@link unpairedRows}. */
export type UnpairedRowOptions = OptionsInput<typeof unpairedRowShape>;

/**
 * Rules for rows of a prompt, an answer, and whether it is a good one, as TRL 1.16 tokenises them
 * for KTO.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function unpairedRows(options: UnpairedRowOptions): RowRules<UnpairedExample> {
  const checked = parseOptions(unpairedRowOptions, options, { where: 'unpairedRows' });
  const { maxLength, truncationMode, tokenization, klPairs, preflight: setting, weights } = checked;
  return {
    fingerprint: {
      maxLength: Number.isFinite(maxLength) ? maxLength : 'none',
      truncationMode,
      tokenization,
      klPairs,
    },
    isPreflightOn: setting !== 'off',
    preflight: (model, tokenizer, use, title) =>
      answerPreflight(
        ...([setting, maxLength, labelConditions, model, tokenizer, use, title] as const),
        ({ conditions }) => (weights && use === 'training' ? unbalanced(conditions, weights) : []),
      ),
    lengthOf: ({ text, mismatched }) =>
      Math.max(text.inputIds.length, mismatched?.inputIds.length ?? 0),
    encode(row, { model, tokenizer, origin, preflight }): EncodedRow<UnpairedExample> {
      const isDesirable = labelOf(row, origin);
      const { read, notes: remarks } = readAnswers(row, origin, NAMES, format);
      const split = splitAnswers(read, tokenizer, origin, tokenization);
      const [{ ids, promptLength }] = split.sequences as [(typeof split.sequences)[0]];
      checkTokenIds(ids, model.config.vocabSize, origin, { fromTokenizer: read.kind !== 'tokens' });
      const conditions = conditionsOf(read, tokenizer);
      const notes = [...remarks, ...conditions.map((name) => labelConditions[name]!.label)];
      if (split.isMerged) notes.push(MERGED);
      const cut = cutSequence({ ids, promptLength }, maxLength, truncationMode);
      const refusal = unusable(split, [cut], maxLength, truncationMode === 'keep_start');
      const seen = { read, split, cut: [cut], maxLength, isLeftOut: refusal !== null };
      const columns = unusedColumns(row as Row, format);
      const label = isDesirable ? 'wanted' : 'unwanted';
      preflight?.add(origin, seenTexts(seen, [], columns), [label, ...conditions]);
      if (refusal !== null) return { example: null, notes: [...notes, refusal] };
      if (cut.isCut) notes.push(cutOff(maxLength));
      return {
        example: {
          text: cut.example,
          isDesirable,
          promptIds: Int32Array.from(ids.slice(0, promptLength)),
          completionIds: Int32Array.from(ids.slice(promptLength)),
        },
        notes,
      };
    },
    isPacked: () => klPairs === 'dataset',
    pack: (examples) =>
      examples.map((example, i) => {
        const half = Math.max(Math.floor(examples.length / 2), 1);
        const other = examples[(i + examples.length - half) % examples.length]!;
        return { ...example, mismatched: mismatch(example, other, maxLength, truncationMode) };
      }),
  };
}

/**
 * The prompt of one example with the answer of another, as `collateUnpaired` pairs them.
 *
 * @param mode what is cut off of more than `maxLength` tokens
 */
export function mismatch(
  { promptIds }: UnpairedExample,
  { completionIds }: UnpairedExample,
  maxLength: number,
  mode: 'keep_start' | 'keep_end' = 'keep_start',
): TokenExample {
  const ids = [...promptIds, ...completionIds];
  return cutSequence({ ids, promptLength: promptIds.length }, maxLength, mode).example;
}

/**
 * The label of a row. Python takes 0 and 1 for booleans, and TRL's KTO counts and masks with them,
 * so they are read as what they mean.
 */
function labelOf(row: unknown, origin: string): boolean {
  const given = fieldsOf(row, origin, format);
  const { label } = withoutNulls(given);
  if (label === undefined) {
    const isPair = 'chosen' in given && 'rejected' in given;
    if (!isPair) throw missingColumn('label', given, origin, format);
    throw rowError(
      origin,
      'the row is a preference pair, and one answer with a label is needed.',
      format,
    );
  }
  if (typeof label === 'boolean') return label;
  if (label === 0 || label === 1) return label === 1;
  const hint =
    label === 'true' || label === 'false' || label === 'True' || label === 'False'
      ? ' It is text: every text that is not empty would count as good.'
      : label === -1
        ? ' Write -1 as false.'
        : '';
  throw rowError(
    origin,
    `"label" is to be true or false; it is ${briefly(label, 60)}.${hint}`,
    format,
  );
}

type Weights = Pick<LabelBalance, 'desirableWeight' | 'undesirableWeight'>;

/** Says which weights would balance the classes, where others are given. */
function unbalanced(
  conditions: PreflightFacts['conditions'],
  weights: Weights,
): PreflightProblem[] {
  const [desirable, undesirable] = [
    conditions.get('wanted')!.count,
    conditions.get('unwanted')!.count,
  ];
  // One class alone is said already.
  if (desirable === 0 || undesirable === 0) return [];
  const advice = adviseLabelWeights({ desirable, undesirable, ...weights });
  if (advice === null) return [];
  const range = ([least, most]: readonly [number, number]) => `${least} to ${most}`;
  return [
    {
      check: 'label-weights',
      refused: false,
      message: `${desirable} answers are wanted and ${undesirable} are not, at the weights ${weights.desirableWeight} and ${weights.undesirableWeight}: one class outweighs the other.`,
      remedy: `Give a desirableWeight of ${range(advice.desirableWeight)}, or an undesirableWeight of ${range(advice.undesirableWeight)}; not both.`,
      details: { desirable, undesirable, ...weights, advice },
    },
  ];
}
