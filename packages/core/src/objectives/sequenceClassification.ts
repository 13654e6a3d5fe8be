import { z } from 'zod';
import type { LanguageModel, ProblemType, Scoring } from '../models/languageModel.js';
import { crossEntropy } from '../tensor/ops/crossEntropy.js';
import { equal } from '../tensor/ops/elementwise.js';
import { argmax } from '../tensor/ops/reduce.js';
import type { Tensor } from '../tensor/tensor.js';
import { collateTokens } from '../text/collator.js';
import { numTokens } from '../text/tokenizeRow.js';
import type { DeviceBatch } from '../training/batch.js';
import type { LossOutput, Objective } from '../training/objective.js';
import type { EncodeContext } from '../training/rowRules.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { type OptionsInput, parseOptions } from '../util/options.js';

/**
 * A tokenised row with its label: one number, or one for each label (regression, several labels at
 * once).
 */
export interface ClassifierExample {
  readonly inputIds: Int32Array;
  readonly label: number | readonly number[];
}

const classificationShape = {
  /** Tokens of a row beyond which its end is cut off. */
  maxLength: numTokens.meta({ aka: 'maxseqlength' }),
};
const classificationOptions = z.strictObject(classificationShape);

/** Options of {@link sequenceClassificationObjective}. */
export type SequenceClassificationOptions = OptionsInput<typeof classificationShape>;

/**
 * The objective of a sequence classifier. Its loss is that of transformers for the model's problem
 * type:
 * - `regression`: mean squared error over the outputs;
 * - `single_label_classification`: cross-entropy, labels are class numbers or names;
 * - `multi_label_classification`: binary cross-entropy of each output, labels are lists of 0 and 1.
 *
 * Rows are `{ text, label }` or `{ input_ids, label }` (`labels` is read, too). Items are rows,
 * times outputs where the loss is a mean over both. Classes log `accuracy`.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; CLASSIFIER_NEEDED for a model that scores no sequences
 */
export function sequenceClassificationObjective(
  model: LanguageModel,
  options: SequenceClassificationOptions,
): Objective<ClassifierExample> {
  const { maxLength } = parseOptions(classificationOptions, options, {
    where: 'sequenceClassificationObjective',
  });
  const scoring = scoringOf(model);
  const { numLabels, problemType } = scoring;
  const isClasses = problemType === 'single_label_classification';
  return {
    name: 'sequence-classification',
    fingerprint: { problemType },
    rows: {
      fingerprint: { maxLength },
      encode(row, context) {
        const ids = tokensOf(row, context);
        const label = labelOf(row, context, scoring);
        const notes = ids.length > maxLength ? [`cut off after ${maxLength} tokens`] : [];
        return { example: { inputIds: ids.slice(0, maxLength), label }, notes };
      },
    },
    collate(examples) {
      const tokens = examples.map(({ inputIds }) => ({ inputIds, labels: inputIds }));
      const { inputIds, positions, segments } = collateTokens(tokens, maxLength);
      const values = examples.flatMap(({ label }) => label);
      const shape = [examples.length, numLabels];
      return {
        inputIds,
        positions,
        segments,
        lastTokens: {
          data: Int32Array.from(examples, (example) => example.inputIds.length - 1),
          shape: [examples.length],
          dtype: 'int32',
        },
        targets: isClasses
          ? { data: Int32Array.from(values), shape: [examples.length], dtype: 'int32' }
          : { data: Float32Array.from(values), shape, dtype: 'float32' },
      };
    },
    countItems: ({ targets }) => targets!.data.length,
    loss: (model, batch) => classificationLoss(model, batch, problemType),
  };
}

function classificationLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  problemType: ProblemType,
): LossOutput {
  const { inputIds, positions = null, segments = null, lastTokens = null, targets } = batch;
  const input = { inputIds: inputIds!, positions, segments, lastTokens };
  const logits = model.scores!(input); // [B, numLabels]
  switch (problemType) {
    case 'regression':
      return { loss: logits.sub(targets!).square().sum() };
    case 'multi_label_classification':
      return { loss: binaryCrossEntropy(logits, targets!).sum() };
    case 'single_label_classification': {
      const correct = model.engine.noGrad(() => equal(argmax(logits), targets!).sum());
      return {
        loss: crossEntropy(logits, targets!).sum(),
        metrics: { accuracy: { sum: correct, count: targets!.size } },
      };
    }
  }
}

/** max(x, 0) - x y + log(1 + exp(-|x|)) of logits x and labels y: it does not overflow. */
function binaryCrossEntropy(x: Tensor, y: Tensor): Tensor {
  return x.relu().sub(x.mul(y)).add(x.abs().neg().exp().add(1).log());
}

function scoringOf({ scoring, scores }: LanguageModel): Scoring {
  if (scoring && scores) return scoring;
  throw new AttuneError('CLASSIFIER_NEEDED', 'the model has no score for whole sequences.', {
    remedy: 'Load it with AutoModelForSequenceClassification.fromPretrained(..., { numLabels }).',
  });
}

function tokensOf(row: unknown, { model, tokenizer, origin }: EncodeContext): Int32Array {
  const fields = isPlainObject(row) ? row : {};
  const given = fields.input_ids ?? fields.inputIds;
  const ids = given ?? (typeof fields.text === 'string' ? tokenizer?.encode(fields.text) : null);
  if (ids === undefined)
    throw new AttuneError(
      'TOKENIZER_MISSING',
      `${origin}: the row is text and there is no tokenizer.`,
      {
        remedy:
          'Pass tokenizer: await AutoTokenizer.fromPretrained(...), or rows of { input_ids }.',
      },
    );
  if (!isNumbers(ids) || ids.length === 0)
    throw new AttuneError('ROW_FORMAT', `${origin}: the row has no text and no input_ids.`, {
      remedy: 'Give rows of { text, label } or { input_ids, label }, not empty.',
    });
  const { vocabSize } = model.config;
  const bad = Array.from(ids).find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (bad !== undefined)
    throw new AttuneError(
      'VOCAB_MISMATCH',
      `${origin}: token id ${bad} is outside of the model's vocabulary of ${vocabSize}.`,
      { remedy: "Use the model's own tokenizer." },
    );
  return Int32Array.from(ids);
}

const isNumbers = (value: unknown): value is ArrayLike<number> =>
  (Array.isArray(value) && value.every((x) => typeof x === 'number')) ||
  value instanceof Int32Array ||
  value instanceof Float32Array;

function labelOf(
  row: unknown,
  { model, origin }: EncodeContext,
  { numLabels, problemType }: Scoring,
): number | readonly number[] {
  const fields = isPlainObject(row) ? row : {};
  const found = fields.label ?? fields.labels;
  const invalid = (expected: string) =>
    new AttuneError('LABEL_INVALID', `${origin}: the label is ${JSON.stringify(found)}.`, {
      remedy: `Expected ${expected}.`,
    });
  if (problemType === 'single_label_classification') {
    const names = model.config.raw.label2id as Readonly<Record<string, number>>;
    const id = typeof found === 'string' ? names[found] : found;
    if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < numLabels)
      return id as number;
    throw invalid(`a whole number below ${numLabels}, or one of ${Object.keys(names).join(', ')}`);
  }
  const values = typeof found === 'number' && numLabels === 1 ? [found] : found;
  const isBinary = problemType === 'multi_label_classification';
  if (
    isNumbers(values) &&
    values.length === numLabels &&
    Array.from(values).every((x) => Number.isFinite(x) && (!isBinary || (x >= 0 && x <= 1)))
  )
    return Array.from(values);
  throw invalid(`${numLabels} numbers${isBinary ? ' from 0 to 1' : ''}`);
}
