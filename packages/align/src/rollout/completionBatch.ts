import { collatePredictions, type HostBatch, type HostTensor, IGNORE_INDEX } from '@attune/core';

/** A completion with its prompt. */
export interface CompletionRow {
  readonly promptIds: Int32Array;
  /** With the token that ended it. */
  readonly completionIds: readonly number[];
  /** Whether its tokens count in the loss. */
  readonly counts: boolean;
}

/**
 * The batch of completions whose tokens are asked for: prompts are read, completions predicted.
 * What `sequenceLogProbs` reads, and `mask` [B, T], `counts` [B]: where a token counts, and how
 * many of each row do.
 *
 * @param maxLength up to which padded lengths are rounded up
 */
export function completionBatch(rows: readonly CompletionRow[], maxLength: number): HostBatch {
  const batch = collatePredictions(
    rows.map(({ promptIds, completionIds, counts }) => ({
      inputIds: [...promptIds, ...completionIds],
      labels: [
        ...Array<number>(promptIds.length).fill(IGNORE_INDEX),
        ...(counts ? completionIds : completionIds.map(() => IGNORE_INDEX)),
      ],
    })),
    maxLength,
  );
  const { data, shape } = batch.labels;
  return {
    ...batch,
    mask: floats(
      Float32Array.from(data, (label) => Number(label !== IGNORE_INDEX)),
      shape,
    ),
    counts: perRow(tokenCounts(rows)),
  };
}

/** Tokens that count, of each row. */
export const tokenCounts = (rows: readonly CompletionRow[]): number[] =>
  rows.map(({ completionIds, counts }) => (counts ? completionIds.length : 0));

/** A number for each completion, [B]. */
export const perRow = (values: ArrayLike<number>): HostTensor =>
  floats(Float32Array.from(values), [values.length]);

/**
 * A number for each token of the completions in the place where `sequenceLogProbs` has it, [B, T];
 * 0 elsewhere.
 *
 * @param width T
 */
export function perToken(
  rows: readonly CompletionRow[],
  values: readonly ArrayLike<number>[],
  width: number,
): HostTensor {
  const data = new Float32Array(rows.length * width);
  rows.forEach(({ promptIds, counts }, b) => {
    if (counts) data.set(Array.from(values[b]!), b * width + promptIds.length - 1);
  });
  return floats(data, [rows.length, width]);
}

export const floats = (data: Float32Array, shape: readonly number[]): HostTensor => ({
  data,
  shape,
  dtype: 'float32',
});
