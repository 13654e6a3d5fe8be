import { inference, type LanguageModel, sequenceLogProbs, type Tensor } from '@attune/core';
import type { DeviceBatch, HostBatch, LossOutput, Objective } from '@attune/core/training';
import type { UnpairedObjective } from '../contract/alignmentObjective.js';
import { classSums } from '../losses/kto.js';
import { ReferenceLogProbs, type ReferenceRows } from '../reference/referenceLogProbs.js';
import { collateUnpaired, mismatchedBatch } from '../rows/collateUnpaired.js';
import { type UnpairedExample, unpairedRows } from '../rows/unpairedRows.js';
import { type Metrics, measured, tokenMean } from './metrics.js';
import type { ObjectiveParts } from './settings.js';

const answers: ReferenceRows = {
  name: 'reference',
  prefix: '',
  compute: (model, batch) => sequenceLogProbs(model, batch).sums,
};
const mismatched: ReferenceRows = {
  name: 'mismatchedReference',
  prefix: 'kl:',
  compute: (model, batch) => sequenceLogProbs(model, mismatchedBatch(batch)).sums,
};

/** A loss over labelled answers as the Trainer takes it. Items are answers. */
export function unpairedObjective<
  Options extends {
    readonly klPairs?: 'batch' | 'dataset';
    readonly desirableWeight?: number;
    readonly undesirableWeight?: number;
  },
>(
  definition: UnpairedObjective<Options>,
  { options, settings, reference: model }: ObjectiveParts<Options>,
): Objective<UnpairedExample> {
  const { maxLength, truncationMode, preflight, disableDropout, fingerprint } = settings;
  const { klPairs = 'batch', desirableWeight, undesirableWeight } = options;
  const withKl = definition.readsMismatched?.(options) ?? false;
  const weights =
    desirableWeight !== undefined && undesirableWeight !== undefined
      ? { desirableWeight, undesirableWeight }
      : undefined;
  const rows = unpairedRows({ maxLength, truncationMode, preflight, klPairs, weights });
  const collate = (examples: readonly UnpairedExample[]): HostBatch =>
    collateUnpaired(examples, {
      maxLength,
      truncationMode,
      withKl,
      klBlock: settings.trainBatchSize,
    });
  const reference =
    model &&
    new ReferenceLogProbs(
      model,
      withKl ? [answers, mismatched] : [answers],
      settings.precomputed,
      collate,
    );
  return {
    name: definition.name,
    disableDropout,
    fingerprint: { ...fingerprint, ...(reference && { reference: reference.description }) },
    rows,
    ...(reference && { prepare: ({ logger }) => reference.prepare(logger) }),
    collate,
    countItems: ({ inputIds }) => inputIds!.shape[0]!,
    async *updates(group, context) {
      yield { batches: reference ? await reference.fill(group, context) : group };
    },
    ...(reference?.isStored && { standIn: (batch) => reference.standIn(batch) }),
    loss: (policy, batch) => unpairedLoss(definition, options, withKl, reference, policy, batch),
  };
}

function unpairedLoss<Options>(
  definition: UnpairedObjective<Options>,
  options: Options,
  withKl: boolean,
  reference: ReferenceLogProbs | null,
  model: LanguageModel,
  batch: DeviceBatch,
): LossOutput {
  const { engine } = model;
  const found = sequenceLogProbs(model, batch, { statistics: ['entropy', 'meanLogit'] });
  const { sums: logProbs, statistics } = found;
  const labels = batch.isDesirable!; // [B]
  const counts = batch.labelCounts!;
  const compared = reference?.record(batch) ?? {};
  const own = withKl ? inference(model, () => mismatched.compute(model, batch)) : null;
  const others = own && engine.noGrad(() => own.sub(compared[mismatched.name]!));
  const given = {
    logProbs,
    reference: compared[answers.name] ?? null,
    labels,
    counts,
    mismatched: others,
  };
  const { losses, rewards, metrics } = definition.loss(given, options);
  const [entropy, logits] = engine.noGrad(() => [
    statistics!.entropy!.sum(1),
    statistics!.meanLogit!.sum(1),
  ]);
  return {
    loss: losses.sum(),
    metrics: {
      ...byClass('rewards', rewards, labels),
      'rewards/margins': classMargin(rewards, labels),
      ...byClass('logps', logProbs, labels),
      ...byClass('logits', logits!, labels, counts),
      entropy: tokenMean(entropy!, counts),
      ...measured(metrics),
    },
  };
}

/**
 * The mean over the desirable answers less that over the undesirable ones, of batches that have
 * both. No gradient.
 */
function classMargin(values: Tensor, labels: Tensor): Metrics[string] {
  const sums = classSums(values, labels);
  const counts = classSums(labels.mul(0).add(1), labels);
  const { engine } = labels;
  return engine.noGrad(() => {
    const one = engine.full([], 1);
    const mean = (of: keyof typeof sums) => sums[of].div(counts[of].maximum(one));
    const hasBoth = counts.desirable.minimum(one).mul(counts.undesirable.minimum(one));
    return { sum: mean('desirable').sub(mean('undesirable')).mul(hasBoth), count: hasBoth };
  });
}

/**
 * A value's means over the desirable and over the undesirable answers, as TRL logs them: under
 * `chosen` and `rejected`. A class without an answer is left out.
 *
 * @param counts what each value is a sum over. Default 1 each
 */
function byClass(name: string, values: Tensor, labels: Tensor, counts?: Tensor): Metrics {
  const sums = classSums(values, labels);
  const of = classSums(counts ?? values.engine.noGrad(() => labels.mul(0).add(1)), labels);
  return {
    [`${name}/chosen`]: { sum: sums.desirable, count: of.desirable },
    [`${name}/rejected`]: { sum: sums.undesirable, count: of.undesirable },
  };
}
