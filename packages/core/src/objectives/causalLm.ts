import { z } from 'zod';
import type { LanguageModel } from '../models/languageModel.js';
import type { CrossEntropyOptions } from '../tensor/crossEntropyOptions.js';
import { crossEntropy } from '../tensor/ops/crossEntropy.js';
import { labelIsTop } from '../tensor/ops/labelIsTop.js';
import { linearCrossEntropyAndCorrect } from '../tensor/ops/linearCrossEntropy.js';
import type { Tensor } from '../tensor/tensor.js';
import { countLabels, IGNORE_INDEX, type TokenExample } from '../text/collator.js';
import type { DeviceBatch, HostTensor } from '../training/batch.js';
import type { LossOutput, Objective } from '../training/objective.js';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type CausalLmRowOptions, causalLmRowShape, causalLmRows } from './causalLmRows.js';
import { collatePredictions, predictedRows } from './predictedRows.js';

const causalLmShape = {
  /** Label smoothing, see `labelSmoothingFactor`. Default 0. */
  labelSmoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .meta({ aka: 'labelsmoothingfactor smoothing' }),
  /**
   * "dft": dynamic fine-tuning, each token's loss times its probability (arXiv:2508.05629). Default
   * "nll".
   */
  lossType: z.enum(['nll', 'dft']).default('nll').meta({ aka: 'loss' }),
};
const causalLmOptions = z.strictObject({ ...causalLmRowShape, ...causalLmShape });

/** Options of {@link causalLmObjective}. */
export type CausalLmOptions = CausalLmRowOptions & OptionsInput<typeof causalLmShape>;

/**
 * The objective of predicting the next token: loss = sum over the labelled positions of -log
 * p(label), in nats. Items are those positions, so that every token weighs the same, however rows
 * fall into batches.
 *
 * A row's first token is not predicted and not counted, as in transformers since 5.x. Behind
 * virtual tokens that are embeddings (prompt tuning, P-tuning) the last of them predicts it, as in
 * PEFT, and it is learned. The loss of an update is divided without it, as transformers counts
 * items. Accuracy and evaluation count it, as TRL and PEFT's own loss do.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, ARGUMENTS_INVALID
 */
export function causalLmObjective(options: CausalLmOptions): Objective<TokenExample> {
  const { labelSmoothing, lossType, ...rows } = parseOptions(causalLmOptions, options, {
    where: 'causalLmObjective',
  });
  const { maxLength } = rows;
  if (lossType === 'dft' && labelSmoothing > 0)
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      `lossType is "dft" and labelSmoothingFactor is ${labelSmoothing}: dynamic fine-tuning has no smoothed form.`,
      { remedy: 'Set labelSmoothingFactor: 0, or lossType: "nll".' },
    );
  const form = {
    ...(labelSmoothing > 0 && { smoothing: labelSmoothing }),
    ...(lossType === 'dft' && { dft: true }),
  };
  return {
    name: 'causal-lm',
    rows: causalLmRows(rows),
    fingerprint: { lossType, labelSmoothing },
    labelSmoothing,
    // exp of a smoothed or weighted -log p is no perplexity.
    isLogLikelihood: lossType === 'nll' && labelSmoothing === 0,
    collate: (examples) => collatePredictions(examples, maxLength),
    countItems: ({ labels }) => countLabels(labels!.data),
    loss: (model, batch) => causalLmLoss(model, batch, form),
    prediction: {
      outputs: (model, { inputIds, positions = null, segments = null }) =>
        model.forward({ inputIds: inputIds!, positions, segments }),
      labelIds: ({ labels }) => unshifted(labels!),
    },
  };
}

/**
 * Labels as they were in the rows: at t about the token at t. The first of each row is asked of
 * nobody.
 */
function unshifted({ data, shape, dtype }: HostTensor): HostTensor {
  const width = shape[1]!;
  const own = Int32Array.from(data, (_, at) => (at % width === 0 ? IGNORE_INDEX : data[at - 1]!));
  return { data: own, shape, dtype };
}

/**
 * Batch of `inputIds`, `labels` (shifted), `positions`, `segments`, each [B, T], and optionally
 * `targetRows`, `targetLabels` [R]; behind virtual embeddings `firstRows`, `firstLabels` [S] -> the
 * summed loss, and how many labels greedy decoding would have chosen.
 */
export function causalLmLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  form: CrossEntropyOptions = {},
): LossOutput {
  const { rows, targets, numFirst } = predictedRows(model, batch);
  const weight = model.headWeight();
  const capped = weight ? null : (model.cappedHead?.() ?? null);
  const { loss, correct } = model.engine.scope('loss', () => {
    if (weight) return linearCrossEntropyAndCorrect(rows, weight, targets, form);
    if (!capped) return lossOfLogits(model.head(rows), targets, form);
    const { softcap } = capped;
    return linearCrossEntropyAndCorrect(rows, capped.weight, targets, { ...form, softcap });
  });
  return { loss, metrics: { meanTokenAccuracy: { sum: correct } }, extraItems: numFirst };
}

/** The loss of a head that is more than a product. */
function lossOfLogits(
  logits: Tensor,
  targets: Tensor,
  form: CrossEntropyOptions,
): { loss: Tensor; correct: Tensor } {
  const correct = logits.engine.noGrad(() => labelIsTop(logits, targets).sum());
  return { loss: crossEntropy(logits, targets, form).sum(), correct };
}
