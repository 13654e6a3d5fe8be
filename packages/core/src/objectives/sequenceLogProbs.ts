import { z } from 'zod';
import type { LanguageModel } from '../models/languageModel.js';
import { crossEntropy } from '../tensor/ops/crossEntropy.js';
import { greater } from '../tensor/ops/elementwise.js';
import { scatterRows } from '../tensor/ops/embedding.js';
import { chunkRows } from '../tensor/ops/headChunks.js';
import { labelIsTop } from '../tensor/ops/labelIsTop.js';
import {
  linearCrossEntropyRows,
  type RowLosses,
  type RowQuestions,
} from '../tensor/ops/linearCrossEntropyRows.js';
import { concat } from '../tensor/ops/movement.js';
import { ROW_STATISTICS, type RowStatistic, rowStatistics } from '../tensor/ops/rowStatistics.js';
import type { Tensor } from '../tensor/tensor.js';
import type { DeviceBatch } from '../training/batch.js';
import { describeValue } from '../util/describeValue.js';
import { AttuneError } from '../util/errors.js';
import { checkNames, type OptionsInput } from '../util/options.js';
import { predictedRows } from './predictedRows.js';

const logProbsShape = {
  /** Divides the logits, as where tokens are sampled with this temperature. Default 1. */
  temperature: z.number().default(1).meta({ aka: 'temp' }),
  /** Also give `perToken`. Default false. */
  perToken: z.boolean().default(false),
  /** Also give `correct`. Default false. */
  withCorrect: z.boolean().default(false).meta({ aka: 'correct' }),
  /** Also give `values`, of a model with a value head. Default false. */
  withValues: z.boolean().default(false).meta({ aka: 'values' }),
  /**
   * Also give these numbers of what is predicted at each label: `'entropy'`, `'meanLogit'`,
   * `'concentration'`. Default [].
   */
  statistics: z.array(z.enum(ROW_STATISTICS)).readonly().default([]).meta({ aka: 'entropy' }),
};
const logProbsOptions = z.strictObject(logProbsShape);

/** Options of {@link sequenceLogProbs}. */
export type LogProbsOptions = OptionsInput<typeof logProbsShape>;

/** What {@link sequenceLogProbs} gives. */
export interface SequenceLogProbs {
  /**
   * float32 [B]: the sum over a row's labels of log p(label | what is before it), nats; 0 for a row
   * without any. Differentiable.
   */
  readonly sums: Tensor;
  /**
   * float32 [B]: labels of each row. `sums.div(counts)` are averages; that of a row without labels
   * is NaN.
   */
  readonly counts: Tensor;
  /** float32 [B, T], if asked for: at t that of `labels[t]`, 0 where it is -100. Differentiable. */
  readonly perToken?: Tensor;
  /**
   * float32 [B], if asked for: labels with the largest logit, which greedy decoding would write.
   * Not differentiable.
   */
  readonly correct?: Tensor;
  /**
   * float32 [B, T], if asked for: at t what the value head makes of the hidden state that predicts
   * `labels[t]`, 0 where it is -100. It is of the same pass through the layers. Differentiable.
   */
  readonly values?: Tensor;
  /** Those that were asked for. */
  readonly statistics?: LogProbStatistics;
}

/**
 * Numbers of the distribution p = softmax(logits / temperature) that predicts a label. Each is
 * float32 [B, T]: at t that of `labels[t]`, 0 where it is -100. Not differentiable.
 */
export interface LogProbStatistics {
  /** -sum p log p over the vocabulary, in nats. A logit of -inf adds nothing. */
  readonly entropy?: Tensor;
  /** Mean of the logits over the vocabulary, before the temperature divides them. */
  readonly meanLogit?: Tensor;
  /**
   * log sum p^2 over the vocabulary: 0 where one token has all of p, -log V where all have the
   * same. Zhou et al. 2024 (WPO), https://arxiv.org/abs/2406.11827
   */
  readonly concentration?: Tensor;
}

/**
 * Log-probabilities that a model gives to the labels of a batch. Preference losses, policy
 * gradients and evaluation are made of them. The logits [B * T, V] never exist, forwards or
 * backwards: head and softmax are one op over a few rows at a time. A head that is more than a
 * product (a bias, an adapter, 4 bits) is computed again for the backward pass.
 *
 * A packed row is one row: its sums are over all its examples, and `perToken` tells them apart.
 * First tokens that a virtual token predicts count as in `causalLmLoss`; they have no place in
 * `perToken`. It records and waits for nothing. Gradients, dropout and the dtype of products are
 * those of where it is called; `inference` turns the first two off.
 *
 * @param batch as `collatePredictions` makes it: `inputIds`, `labels` [B, T], which are shifted (at
 *   t the id that follows, -100 where nothing is asked), and what goes with them
 * @throws UNKNOWN_OPTION, LOG_PROBS_INPUT
 */
export function sequenceLogProbs(
  model: LanguageModel,
  batch: DeviceBatch,
  options: LogProbsOptions = {},
): SequenceLogProbs {
  checkNames(logProbsOptions, options, { where: 'sequenceLogProbs' });
  const { labels, targetRows } = batch;
  const { temperature = 1, perToken = false, withCorrect = false, statistics = [] } = options;
  const { withValues = false } = options;
  checkInput(batch, temperature, statistics);
  const valuesOf = withValues ? valueHeadOf(model) : null;
  const { engine } = model;
  const [count, length] = labels!.shape as [number, number];
  return engine.scope('logProbs', () => {
    const { rows, targets, numFirst } = predictedRows(model, batch);
    const questions = { ranked: withCorrect, statistics: statistics.length > 0 };
    const told = rowLosses(model, rows, targets, { temperature, ...questions });
    const { losses, isTop } = told;
    const numTokens = targets.size - numFirst;
    /** Values of the rows [R + S] -> those of the tokens in their places [B, T]. */
    const toTokens = (values: Tensor): Tensor => {
      const own = numFirst > 0 ? values.slice(0, 0, numTokens) : values;
      const placed = targetRows
        ? scatterRows(own.reshape(numTokens, 1), targetRows, count * length)
        : own;
      return placed.reshape(count, length);
    };
    /** With the first tokens, which are in no place, in their rows: [B]. */
    const toRows = (tokens: Tensor, values: Tensor): Tensor => {
      const sums = tokens.sum(1);
      if (numFirst === 0) return sums;
      const first = values.slice(0, numTokens, numTokens + numFirst).reshape(numFirst, 1);
      return sums.add(scatterRows(first, batch.firstRows!, count).reshape(count));
    };
    const statistic = (name: RowStatistic): Tensor => {
      const column = ROW_STATISTICS.indexOf(name);
      const values = toTokens(told.statistics!.slice(1, column, column + 1).reshape(targets.size));
      return name === 'meanLogit' && temperature !== 1 ? values.mul(temperature) : values;
    };
    const logProbs = losses.neg();
    const tokens = toTokens(logProbs);
    const isAsked = greater(targets.cast('float32'), engine.full([], -0.5));
    return {
      sums: toRows(tokens, logProbs),
      counts: toRows(toTokens(isAsked), isAsked),
      ...(perToken && { perToken: tokens }),
      // Rows of the batch that are not asked may stand for one that is: they count as 0.
      ...(valuesOf && { values: toTokens(valuesOf(rows).mul(isAsked)) }),
      ...(isTop && { correct: engine.noGrad(() => toRows(toTokens(isTop), isTop)) }),
      ...(told.statistics && {
        statistics: engine.noGrad(() =>
          Object.fromEntries(statistics.map((name) => [name, statistic(name)])),
        ),
      }),
    };
  });
}

function checkInput(
  { inputIds, labels }: DeviceBatch,
  temperature: number,
  statistics: readonly string[],
): void {
  if (!inputIds || !labels)
    throw new AttuneError(
      'LOG_PROBS_INPUT',
      `the batch has no ${inputIds ? 'labels' : 'inputIds'}.`,
      {
        remedy: 'Make it with collatePredictions(examples, maxLength), and upload it.',
      },
    );
  if (!(temperature > 0) || !Number.isFinite(temperature))
    throw new AttuneError('LOG_PROBS_INPUT', `temperature is ${String(temperature)}.`, {
      remedy: 'Give a number above 0; 1 leaves the logits as they are.',
    });
  const known: readonly string[] = ROW_STATISTICS;
  const unknown = Array.isArray(statistics)
    ? statistics.find((name) => !known.includes(name))
    : statistics;
  if (unknown !== undefined)
    throw new AttuneError('LOG_PROBS_INPUT', `statistics has ${describeValue(unknown)}.`, {
      remedy: `Give a list of ${ROW_STATISTICS.map((name) => `'${name}'`).join(', ')}.`,
    });
}

/** @throws LOG_PROBS_INPUT */
function valueHeadOf(model: LanguageModel): (hidden: Tensor) => Tensor {
  if (model.valuesOf) return (hidden) => model.valuesOf!(hidden);
  throw new AttuneError('LOG_PROBS_INPUT', 'withValues: the model has no value head.', {
    remedy: 'Load it with AutoModelForCausalLMWithValueHead of @attune/core/models.',
  });
}

interface RowLossOptions extends Required<RowQuestions> {
  readonly temperature: number;
}

/** -log p of each target [R], of logits that are divided by the temperature. */
function rowLosses(
  model: LanguageModel,
  rows: Tensor,
  targets: Tensor,
  options: RowLossOptions,
): RowLosses {
  const { temperature, ...questions } = options;
  // (h / t) W^T = (h W^T) / t, and c tanh(z / c) / t is the cap c / t of z / t.
  const cooler = temperature === 1 ? rows : rows.mul(1 / temperature);
  const weight = model.headWeight();
  if (weight) return linearCrossEntropyRows(cooler, weight, targets, questions);
  const capped = model.cappedHead?.() ?? null;
  if (!capped) return chunkedLosses(model, rows, targets, options);
  const softcap = capped.softcap / temperature;
  return linearCrossEntropyRows(cooler, capped.weight, targets, { ...questions, softcap });
}

/**
 * The same of any head, in chunks of as many rows; the backward pass computes their logits again.
 */
function chunkedLosses(
  model: LanguageModel,
  rows: Tensor,
  targets: Tensor,
  { temperature, ranked, statistics }: RowLossOptions,
): RowLosses {
  const { engine } = model;
  const numRows = targets.size;
  const size = chunkRows(numRows, model.config.vocabSize, engine.bindingBytes);
  const logitsOf = (hidden: Tensor): Tensor => {
    const logits = model.head(hidden); // [C, V]
    return temperature === 1 ? logits : logits.mul(1 / temperature);
  };
  const losses: Tensor[] = [];
  const isTop: Tensor[] = [];
  const told: Tensor[] = [];
  for (let first = 0; first < numRows; first += size) {
    const end = Math.min(first + size, numRows);
    const own = [rows.slice(0, first, end), targets.slice(0, first, end)] as const;
    const [hidden, labels] = own;
    if (engine.gradEnabled)
      losses.push(engine.checkpoint(own, ([x, y]) => crossEntropy(logitsOf(x!), y!)));
    if (engine.gradEnabled && !ranked && !statistics) continue;
    const { gradEnabled } = engine;
    const found = engine.noGrad(() =>
      engine.scope('chunk', () => {
        const logits = logitsOf(hidden);
        return {
          loss: gradEnabled ? null : crossEntropy(logits, labels),
          top: ranked ? labelIsTop(logits, labels) : null,
          numbers: statistics ? rowStatistics(logits, labels) : null,
        };
      }),
    );
    if (found.loss) losses.push(found.loss);
    if (found.top) isTop.push(found.top);
    if (found.numbers) told.push(found.numbers);
  }
  return {
    losses: concat(losses, 0),
    isTop: ranked ? concat(isTop, 0) : null,
    statistics: statistics ? concat(told, 0) : null,
  };
}
