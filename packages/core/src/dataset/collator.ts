/** A tokenised row. */
export interface TokenExample {
  /** [n] */
  readonly inputIds: ArrayLike<number>;
  /** [n], aligned with inputIds: the id itself, or -100 where nothing is to be learned. */
  readonly labels: ArrayLike<number>;
}

/** int32 [B, T] on the host. */
export interface IdArray {
  readonly data: Int32Array;
  readonly shape: readonly [number, number];
  readonly dtype: 'int32';
}

export type TokenBatch = Readonly<
  Record<'inputIds' | 'labels' | 'positions' | 'segments', IdArray>
>;

/** The label that losses leave out, in PyTorch and here. */
export const IGNORE_INDEX = -100;

/** Padded lengths are multiples of this, so that a run meets few different shapes. */
const BUCKET = 32;

/** The padded length of a batch whose longest row has `longest` tokens. */
export const bucketLength = (longest: number, maxLength: number): number =>
  Math.max(longest, Math.min(Math.ceil(longest / BUCKET) * BUCKET, maxLength));

/**
 * Rows -> right-padded arrays, all int32 [B, T]:
 * - `inputIds`, padded with 0: padding is a length, never a token id, so no id is special;
 * - `labels`, shifted: at t the id that follows, or -100. A loss compares logits and labels as they lie;
 * - `positions` 0..T-1;
 * - `segments`: 0 for tokens, 1 for padding, so that attention keeps them apart.
 */
export function collateTokens(examples: readonly TokenExample[], maxLength: number): TokenBatch {
  const longest = examples.reduce((n, { inputIds }) => Math.max(n, inputIds.length), 1);
  const width = bucketLength(longest, maxLength);
  const shape = [examples.length, width] as const;
  const size = examples.length * width;
  const inputIds = new Int32Array(size);
  const labels = new Int32Array(size).fill(IGNORE_INDEX);
  const positions = new Int32Array(size);
  const segments = new Int32Array(size).fill(1);
  examples.forEach((example, b) => {
    const start = b * width;
    const { length } = example.inputIds;
    for (let t = 0; t < width; t++) positions[start + t] = t;
    for (let t = 0; t < length; t++) {
      inputIds[start + t] = example.inputIds[t]!;
      segments[start + t] = 0;
      if (t > 0) labels[start + t - 1] = example.labels[t]!;
    }
  });
  return {
    inputIds: { data: inputIds, shape, dtype: 'int32' },
    labels: { data: labels, shape, dtype: 'int32' },
    positions: { data: positions, shape, dtype: 'int32' },
    segments: { data: segments, shape, dtype: 'int32' },
  };
}

/** How many of these labels are to be learned. */
export function countLabels(labels: Iterable<number>): number {
  let count = 0;
  for (const label of labels) if (label !== IGNORE_INDEX) count++;
  return count;
}
