import {
  IGNORE_INDEX,
  type LanguageModel,
  ops,
  type SequenceLogProbs,
  sequenceLogProbs,
  type Tensor,
  type TokenExample,
} from '@attune/core';
import {
  collatePredictions,
  type DeviceBatch,
  type HostBatch,
  type HostTensor,
  type LossOutput,
  type Objective,
} from '@attune/core/training';
import type { PairBatch, PairObjective } from '../contract/alignmentObjective.js';
import type { PairValues } from '../losses/pairLogProbs.js';
import { pairWeights } from '../losses/pairWeights.js';
import { ReferenceLogProbs } from '../reference/referenceLogProbs.js';
import { collatePairs } from '../rows/collatePairs.js';
import { type PairExample, pairRows } from '../rows/pairRows.js';
import { mean, measured, tokenMean } from './metrics.js';
import type { ObjectiveParts } from './settings.js';

/**
 * A loss over preference pairs as the Trainer takes it. Chosen and rejected answers go through the
 * model in one pass. Items are pairs.
 */
export function pairObjective<Options>(
  definition: PairObjective<Options>,
  parts: ObjectiveParts<Options>,
): Objective<PairExample> {
  const { options, settings } = parts;
  const { maxLength, truncationMode, preflight, disableDropout, fingerprint } = settings;
  const tokenization = definition.tokenizesAsCpo ? 'cpo' : 'dpo';
  const rows = pairRows({ maxLength, truncationMode, tokenization, preflight });
  const collate = (examples: readonly PairExample[]): HostBatch => {
    const answers = collatePairs(examples, maxLength);
    const weights = definition.tokenWeights?.(answers.labels!, options) ?? null;
    const batch = definition.readsPrompt ? withPrompts(answers, examples, maxLength) : answers;
    return { ...batch, ...(weights && { tokenWeights: weights }), ...lengthsOf(batch, answers) };
  };
  const reference =
    parts.reference &&
    new ReferenceLogProbs(
      parts.reference,
      [{ name: 'reference', prefix: '', compute: (model, batch) => answerSums(model, batch) }],
      settings.precomputed,
      collate,
    );
  return {
    name: definition.name,
    disableDropout,
    fingerprint: { ...fingerprint, ...(reference && { reference: reference.description }) },
    rows: {
      ...rows,
      encode(row, context) {
        const encoded = rows.encode!(row, context);
        if (encoded.example) reference?.expect(encoded.example);
        return encoded;
      },
    },
    ...(reference && { prepare: ({ logger }) => reference.prepare(logger) }),
    collate,
    countItems: ({ inputIds }) => inputIds!.shape[0]! / 2,
    async *updates(group, context) {
      const batches = withGroupLengths(group);
      yield { batches: reference ? await reference.fill(batches, context) : batches };
    },
    ...(reference?.isStored && { standIn: (batch) => reference.standIn(batch) }),
    loss: (model, batch) => pairLoss(definition, options, reference, model, batch),
  };
}

/**
 * The texts of the chosen answers whole, with labels on their prompts too; `answerMask` [2B, T]
 * says which labels are of answers.
 */
function withPrompts(
  answers: HostBatch,
  examples: readonly PairExample[],
  maxLength: number,
): HostBatch {
  const { data, shape } = answers.labels!;
  const mask = Float32Array.from(data, (label) => Number(label !== IGNORE_INDEX));
  const whole = ({ inputIds }: TokenExample): TokenExample => ({ inputIds, labels: inputIds });
  const texts = [
    ...examples.map(({ chosen }) => whole(chosen)),
    ...examples.map(({ rejected }) => rejected),
  ];
  return {
    ...collatePredictions(texts, maxLength),
    labelCounts: answers.labelCounts!,
    answerMask: { data: mask, shape, dtype: 'float32' },
  };
}

const scalar = (value: number): HostTensor => ({
  data: Float32Array.of(value),
  shape: [1],
  dtype: 'float32',
});

/** Tokens of a chosen answer, and with its prompt, the means over the pairs of a batch. */
function lengthsOf({ labels }: HostBatch, answers: HostBatch): HostBatch {
  const perPair = ({ data, shape }: HostTensor) => {
    const [rows, width] = shape as [number, number];
    const chosen = data.subarray(0, (rows / 2) * width) as Int32Array;
    const count = chosen.reduce((n, label) => n + Number(label !== IGNORE_INDEX), 0);
    return scalar(Math.max(count, 1) / (rows / 2));
  };
  return { tokensPerPair: perPair(answers.labels!), textTokensPerPair: perPair(labels!) };
}

/** The same means over all pairs of the accumulated batch. */
function withGroupLengths(group: readonly HostBatch[]): readonly HostBatch[] {
  if (group.length === 1) return group;
  const pairs = group.map(({ inputIds }) => inputIds!.shape[0]! / 2);
  const all = pairs.reduce((a, b) => a + b, 0);
  const meanOf = (name: 'tokensPerPair' | 'textTokensPerPair') =>
    scalar(group.reduce((sum, batch, i) => sum + batch[name]!.data[0]! * pairs[i]!, 0) / all);
  const lengths = {
    tokensPerPair: meanOf('tokensPerPair'),
    textTokensPerPair: meanOf('textTokensPerPair'),
  };
  return group.map((batch) => ({ ...batch, ...lengths }));
}

/** Log-probs of the answer tokens, weighed where the objective weighs them: [2B]. */
function weighedSums({ sums, perToken }: SequenceLogProbs, batch: DeviceBatch): Tensor {
  const weights = batch.tokenWeights ?? batch.answerMask;
  return weights ? perToken!.mul(weights).sum(1) : sums;
}

function answerSums(model: LanguageModel, batch: DeviceBatch): Tensor {
  const perToken = batch.tokenWeights !== undefined || batch.answerMask !== undefined;
  return weighedSums(sequenceLogProbs(model, batch, { perToken }), batch);
}

/** [chosen; rejected] along the first axis, apart. */
function halves(values: Tensor): PairValues {
  const [rows] = values.shape as [number];
  return { chosen: values.slice(0, 0, rows / 2), rejected: values.slice(0, rows / 2, rows) };
}

function pairLoss<Options>(
  definition: PairObjective<Options>,
  options: Options,
  reference: ReferenceLogProbs | null,
  model: LanguageModel,
  batch: DeviceBatch,
): LossOutput {
  const weighs = definition.weighs?.(options) ?? false;
  const found = sequenceLogProbs(model, batch, {
    perToken: true,
    withCorrect: !definition.readsPrompt,
    statistics: ['entropy', 'meanLogit', ...(weighs ? (['concentration'] as const) : [])],
  });
  const { correct, perToken, statistics } = found;
  const counts = batch.labelCounts!; // [2B]
  const answers = halves(weighedSums(found, batch));
  const answerCounts = halves(counts);
  const plain = batch.tokenWeights ? found.sums : null;
  const referenceValues = reference && halves(reference.record(batch).reference!);
  const given: PairBatch = {
    ...answers,
    reference: referenceValues,
    chosenCounts: answerCounts.chosen,
    rejectedCounts: answerCounts.rejected,
    chosenTokens: plain ? halves(plain).chosen : answers.chosen,
    tokensPerPair: batch.tokensPerPair!.reshape(),
    promptNll: definition.readsPrompt ? halves(found.sums).chosen.neg() : null,
    promptTokensPerPair: definition.readsPrompt ? batch.textTokensPerPair!.reshape() : null,
    weights: weighs
      ? pairWeights({ logProbs: perToken!, concentration: statistics!.concentration!, counts })
      : null,
  };
  const { losses, rewards, logProbs = answers, metrics } = definition.loss(given, options);
  const { engine } = model;
  /** Sums over answer tokens, [2B]. */
  const ofAnswers = (values: Tensor): Tensor =>
    engine.noGrad(() => (batch.answerMask ? values.mul(batch.answerMask) : values).sum(1));
  const logits = halves(ofAnswers(statistics!.meanLogit!));
  const worth = engine.noGrad(() => ({
    margins: rewards.chosen.sub(rewards.rejected),
    accuracies: ops.greater(rewards.chosen, rewards.rejected),
  }));
  return {
    loss: losses.sum(),
    metrics: {
      'rewards/chosen': mean(rewards.chosen),
      'rewards/rejected': mean(rewards.rejected),
      'rewards/margins': mean(worth.margins),
      'rewards/accuracies': mean(worth.accuracies),
      'logps/chosen': mean(logProbs.chosen),
      'logps/rejected': mean(logProbs.rejected),
      'logits/chosen': tokenMean(logits.chosen, answerCounts.chosen),
      'logits/rejected': tokenMean(logits.rejected, answerCounts.rejected),
      entropy: tokenMean(ofAnswers(statistics!.entropy!), counts),
      ...(correct && {
        meanTokenAccuracy: tokenMean(halves(correct).chosen, answerCounts.chosen),
      }),
      ...measured(metrics),
    },
  };
}
