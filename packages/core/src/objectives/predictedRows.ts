import type { LanguageModel } from '../models/languageModel.js';
import { embedding } from '../tensor/ops/embedding.js';
import { concat } from '../tensor/ops/movement.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  collateTokens,
  IGNORE_INDEX,
  type TokenBatch,
  type TokenExample,
} from '../text/collator.js';
import type { DeviceBatch, HostBatch, HostTensor } from '../training/batch.js';

/**
 * Makes the batch that `causalLmLoss` and `sequenceLogProbs` read: what `collateTokens` gives, and
 * for which rows of hidden states the head is needed.
 *
 * @param maxLength up to which padded lengths are rounded up
 * @throws SEQ_LENGTHS
 */
export function collatePredictions(
  examples: readonly TokenExample[],
  maxLength: number,
): HostBatch & TokenBatch {
  const batch = collateTokens(examples, maxLength);
  return { ...batch, ...labelledRows(batch), ...firstTokens(examples) };
}

/** Counts of labelled rows are rounded up to a multiple of this, so that shapes settle. */
const ROW_BUCKET = 64;

/**
 * Where most positions have no label (completion-only loss), the flat indices of those that have
 * one and their labels, both [R]: only these rows then go through the head, the widest layer of a
 * model.
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

/**
 * The row [S] of each example whose first token has a label, and that label [S]: what the last
 * virtual token predicts.
 */
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

/** What the head is asked, and what should come out. */
export interface PredictedRows {
  /** Hidden states [R + S, D]: of the tokens, then of what stands before the first ones. */
  readonly rows: Tensor;
  /** int32 [R + S]: the ids that follow; -100 where nothing is asked. */
  readonly targets: Tensor;
  /** S: first tokens that the last virtual token predicts; 0 without virtual embeddings. */
  readonly numFirst: number;
}

/**
 * The hidden states that a batch wants predictions of: those of `targetRows` where the batch has
 * them, else all, R of them; behind virtual embeddings also the last virtual token of the S
 * examples of `firstRows`.
 *
 * @param batch as `collatePredictions` makes it
 */
export function predictedRows(model: LanguageModel, batch: DeviceBatch): PredictedRows {
  const { inputIds, labels, positions = null, segments = null, targetRows, targetLabels } = batch;
  // A batch that was uploaded by hand has them whatever the adapters are.
  const predictsFirst = model.adapters?.predictsFirstToken === true;
  const { firstRows, firstLabels } = predictsFirst ? batch : {};
  const withLastVirtual = firstRows !== undefined;
  const all = model.hiddenStates({ inputIds: inputIds!, positions, segments, withLastVirtual });
  const [count, length] = labels!.shape as [number, number];
  const hidden = withLastVirtual ? all.slice(1, 1, 1 + length) : all; // [B, T, D]
  const flat = hidden.reshape(labels!.size, -1); // [B*T, D]
  const [rows, targets] =
    targetRows && targetLabels
      ? [embedding(flat, targetRows), targetLabels] // [R, D], [R]
      : [flat, labels!.reshape(labels!.size)];
  if (!withLastVirtual) return { rows, targets, numFirst: 0 };
  const lastVirtual = embedding(all.slice(1, 0, 1).reshape(count, -1), firstRows); // [S, D]
  return {
    rows: concat([rows, lastVirtual], 0), // [R + S, D]
    targets: concat([targets, firstLabels!], 0), // [R + S]
    numFirst: firstRows.size,
  };
}
