import type { LanguageModel } from '../models/languageModel.js';
import { type CrossEntropyOptions, crossEntropy } from '../tensor/ops/crossEntropy.js';
import { embedding } from '../tensor/ops/embedding.js';
import { labelIsTop } from '../tensor/ops/labelIsTop.js';
import { linearCrossEntropyAndCorrect } from '../tensor/ops/linearCrossEntropy.js';
import { concat } from '../tensor/ops/movement.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  collateTokens,
  countLabels,
  IGNORE_INDEX,
  type TokenBatch,
  type TokenExample,
} from '../text/collator.js';
import { type PackingStrategy, packExamples } from '../text/pack.js';
import { Preflight, type PreflightSetting } from '../text/preflight/preflight.js';
import { tokenizeSft } from '../text/tokenizeRow.js';
import type {
  DeviceBatch,
  HostBatch,
  HostTensor,
  LossOutput,
  Objective,
  RowUse,
} from '../training/objective.js';
import { AttuneError } from '../util/errors.js';

export interface CausalLmOptions {
  /** Tokens of a row beyond which its end is cut off. */
  readonly maxLength: number;
  /** Learn completions only; null: where a row has one. Default null. */
  readonly completionOnlyLoss?: boolean | null;
  /** Of conversations, learn only what the assistant says. Default false. */
  readonly assistantOnlyLoss?: boolean;
  /** Row -> text, for rows of a format of your own. Default: rows of the known formats. */
  readonly formattingFunc?: ((row: never) => string) | undefined;
  /** Several rows in each one of `maxLength` tokens, apart for attention (`packExamples`). Default false. */
  readonly packing?: boolean;
  /** Label smoothing, see `labelSmoothingFactor`. Default 0. */
  readonly labelSmoothing?: number;
  /** "dft": dynamic fine-tuning, each token's loss times its probability (arXiv:2508.05629). Default "nll". */
  readonly lossType?: 'nll' | 'dft';
  /** Default 'bfd'. */
  readonly packingStrategy?: PackingStrategy;
  /** Pack evaluation rows too; null: as `packing`. Default null. */
  readonly evalPacking?: boolean | null;
  /** What is shown and refused before the first step. Default 'on'. */
  readonly preflight?: PreflightSetting;
}

/**
 * Predicting the next token: loss = sum over the labelled positions of -log p(label). Items are those
 * positions, so that every token weighs the same, however rows fall into batches.
 *
 * A row's first token is not predicted and not counted, as in transformers since 5.x; but behind virtual tokens that are
 * embeddings (prompt tuning, P-tuning) the last of them predicts it, as in PEFT: then it is learned. The loss of an update is
 * divided without it, as transformers counts items; accuracy and evaluation count it, as TRL and PEFT's own loss do.
 */
export function causalLmObjective(options: CausalLmOptions): Objective<TokenExample> {
  const {
    maxLength,
    completionOnlyLoss = null,
    assistantOnlyLoss = false,
    formattingFunc,
    packing = false,
    packingStrategy = 'bfd',
    preflight: setting = 'on',
    labelSmoothing = 0,
    lossType = 'nll',
  } = options;
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
  const evalPacking = options.evalPacking ?? packing;
  const isPacked = (use: RowUse) => (use === 'training' ? packing : evalPacking);
  return {
    name: 'causal-lm',
    labelSmoothing,
    isPreflightOn: setting !== 'off',
    preflight: (model, tokenizer, use, title) =>
      new Preflight({
        ...(typeof setting === 'object' ? setting : {}),
        use,
        title,
        tokenizer,
        eosTokenIds: model.config.eosTokenId,
        maxLength,
      }),
    encode(row, { model, tokenizer, origin, use = 'training', preflight }) {
      // These two keep what is longer than a row: in the next ones.
      const isCut = !isPacked(use) || packingStrategy === 'bfd';
      const tokenized = tokenizeSft(row, origin, {
        tokenizer,
        maxLength: isCut ? maxLength : Number.POSITIVE_INFINITY,
        vocabSize: model.config.vocabSize,
        completionOnlyLoss,
        assistantOnlyLoss,
        formattingFunc,
      });
      preflight?.add(origin, tokenized);
      const { example, truncated, boundaryMerged } = tokenized;
      const notes: string[] = [];
      if (truncated) notes.push(`cut off after ${maxLength} tokens`);
      if (boundaryMerged)
        notes.push(
          'the end of the prompt merges with the completion into other tokens, which are learned with it',
        );
      return { example, notes };
    },
    isPacked,
    // A piece of a long prompt may fill a row by itself: nothing to learn from.
    pack: (examples) => packExamples(examples, maxLength, packingStrategy).filter(isLearned),
    collate(examples) {
      const batch = collateTokens(examples, maxLength);
      return { ...batch, ...labelledRows(batch), ...firstTokens(examples) };
    },
    countItems: ({ labels }) => countLabels(labels!.data),
    loss: (model, batch) => causalLmLoss(model, batch, form),
    prediction: {
      outputs: (model, { inputIds, positions = null, segments = null }) =>
        model.forward({ inputIds: inputIds!, positions, segments }),
      labelIds: ({ labels }) => unshifted(labels!),
    },
  };
}

/** Whether a label is there beside the first of each example, which is never learned. */
function isLearned({ labels, seqLengths = [labels.length] }: TokenExample): boolean {
  let start = 0;
  for (const length of seqLengths) {
    for (let t = start + 1; t < start + length; t++) if (labels[t] !== IGNORE_INDEX) return true;
    start += length;
  }
  return false;
}

/** Labels as they were in the rows: at t about the token at t. The first of each row is asked of nobody. */
function unshifted({ data, shape, dtype }: HostTensor): HostTensor {
  const width = shape[1]!;
  const own = Int32Array.from(data, (_, at) => (at % width === 0 ? IGNORE_INDEX : data[at - 1]!));
  return { data: own, shape, dtype };
}

/** Counts of labelled rows are rounded up to a multiple of this, so that shapes settle. */
const ROW_BUCKET = 64;

/**
 * Where most positions have no label (completion-only loss), the flat indices of those that have one
 * and their labels, both [R]: only these rows then go through the head, the widest layer of a model.
 */
function labelledRows({ labels }: TokenBatch): HostBatch {
  const labelled: number[] = [];
  labels.data.forEach((label, at) => {
    if (label !== IGNORE_INDEX) labelled.push(at);
  });
  const rows = Math.ceil(labelled.length / ROW_BUCKET) * ROW_BUCKET;
  if (rows === 0 || rows > 0.8 * labels.data.length) return {};
  const indices = new Int32Array(rows);
  const values = new Int32Array(rows).fill(IGNORE_INDEX);
  labelled.forEach((at, i) => {
    indices[i] = at;
    values[i] = labels.data[at]!;
  });
  return {
    targetRows: { data: indices, shape: [rows], dtype: 'int32' },
    targetLabels: { data: values, shape: [rows], dtype: 'int32' },
  };
}

/** The row [S] of each example whose first token has a label, and that label [S]: what the last virtual token predicts. */
function firstTokens(examples: readonly TokenExample[]): HostBatch {
  const rows: number[] = [];
  const values: number[] = [];
  examples.forEach(({ labels, seqLengths = [labels.length] }, row) => {
    let start = 0;
    for (const length of seqLengths) {
      const label = length > 0 ? labels[start]! : IGNORE_INDEX;
      if (label !== IGNORE_INDEX) {
        rows.push(row);
        values.push(label);
      }
      start += length;
    }
  });
  if (rows.length === 0) return {};
  const array = (list: readonly number[]): HostTensor => ({
    data: Int32Array.from(list),
    shape: [list.length],
    dtype: 'int32',
    ofFirstTokens: true,
  });
  return { firstRows: array(rows), firstLabels: array(values) };
}

/**
 * Batch of `inputIds`, `labels` (shifted), `positions`, `segments`, each [B, T], and optionally
 * `targetRows`, `targetLabels` [R]; behind virtual embeddings `firstRows`, `firstLabels` [S] -> the summed loss, and how many labels greedy decoding would have chosen.
 */
export function causalLmLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  form: CrossEntropyOptions = {},
): LossOutput {
  const { inputIds, labels, positions = null, segments = null, targetRows, targetLabels } = batch;
  // A batch that was uploaded by hand has them whatever the adapters are.
  const predictsFirst = model.adapters?.predictsFirstToken === true;
  const { firstRows, firstLabels } = predictsFirst ? batch : {};
  const withLastVirtual = firstRows !== undefined;
  const all = model.hiddenStates({ inputIds: inputIds!, positions, segments, withLastVirtual });
  const [count, length] = labels!.shape as [number, number];
  const hidden = withLastVirtual ? all.slice(1, 1, 1 + length) : all; // [B, T, D]
  const flat = hidden.reshape(labels!.size, -1); // [B*T, D]
  const [own, ownTargets] =
    targetRows && targetLabels
      ? [embedding(flat, targetRows), targetLabels] // [R, D], [R]
      : [flat, labels!.reshape(labels!.size)];
  const lastVirtual = () => embedding(all.slice(1, 0, 1).reshape(count, -1), firstRows!); // [S, D]
  const [rows, targets] = withLastVirtual
    ? [concat([own, lastVirtual()], 0), concat([ownTargets, firstLabels!], 0)] // [R + S, D], [R + S]
    : [own, ownTargets];
  const weight = model.headWeight();
  const capped = weight ? null : (model.cappedHead?.() ?? null);
  const { loss, correct } = model.engine.scope('loss', () => {
    if (weight) return linearCrossEntropyAndCorrect(rows, weight, targets, form);
    if (!capped) return lossOfLogits(model.head(rows), targets, form);
    const { softcap } = capped;
    return linearCrossEntropyAndCorrect(rows, capped.weight, targets, { ...form, softcap });
  });
  const extraItems = firstRows?.size ?? 0;
  return { loss, metrics: { meanTokenAccuracy: { sum: correct } }, extraItems };
}

/** Of a head that is more than a product. */
function lossOfLogits(
  logits: Tensor,
  targets: Tensor,
  form: CrossEntropyOptions,
): { loss: Tensor; correct: Tensor } {
  const correct = logits.engine.noGrad(() => labelIsTop(logits, targets).sum());
  return { loss: crossEntropy(logits, targets, form).sum(), correct };
}
