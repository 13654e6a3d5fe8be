import { AttuneError } from '../util/errors.js';

/** A tokenised row of n tokens, or a packed one of several examples. */
export interface TokenExample {
  /** [n] */
  readonly inputIds: ArrayLike<number>;
  /** [n], aligned with inputIds: the id itself, or -100 where nothing is to be learned. */
  readonly labels: ArrayLike<number>;
  /**
   * Lengths of the examples that a packed row holds, in order: they sum to n. Without it, one of n.
   */
  readonly seqLengths?: readonly number[];
}

/** int32 [B, T] on the host. */
export interface IdArray {
  readonly data: Int32Array;
  readonly shape: readonly [number, number];
  readonly dtype: 'int32';
  /** Positions have it: the tokens of the longest example. */
  readonly reach?: number;
}

/** Padded token ids with labels, positions and segments, each [B, T]. */
export type TokenBatch = Readonly<
  Record<'inputIds' | 'labels' | 'positions' | 'segments', IdArray>
>;

/** The label that losses leave out, in PyTorch and here. */
export const IGNORE_INDEX = -100;

/** The segment number of padding; tokens have 0 and above. */
export const PADDING_SEGMENT = -1;

/** Padded lengths are multiples of this, so that a run meets few different shapes. */
const BUCKET = 32;

/** The padded length of a batch whose longest row has `longest` tokens. */
export const bucketLength = (longest: number, maxLength: number): number =>
  Math.max(longest, Math.min(Math.ceil(longest / BUCKET) * BUCKET, maxLength));

/**
 * Rows -> right-padded arrays, all int32 [B, T]:
 * - `inputIds`, padded with 0: padding is a length, never a token id, so no id is special;
 * - `labels`, shifted: at t the id that follows, or -100. A loss compares logits and labels as they
 *   lie;
 * - `positions`: 0, 1, ... from the start of each example of a packed row, and of the padding;
 *   `reach` is the length of the longest example;
 * - `segments`: 0, 1, ... for the examples of a row, -1 for padding, so that attention keeps them
 *   apart.
 *
 * The first label of an example is never learned: in a packed row the token before it is another's.
 *
 * @param maxLength up to which padded lengths are rounded up
 * @throws SEQ_LENGTHS when the lengths of a packed row do not sum to its tokens
 */
export function collateTokens(examples: readonly TokenExample[], maxLength: number): TokenBatch {
  const longest = examples.reduce((n, { inputIds }) => Math.max(n, inputIds.length), 1);
  const width = bucketLength(longest, maxLength);
  const shape = [examples.length, width] as const;
  const size = examples.length * width;
  const inputIds = new Int32Array(size);
  const labels = new Int32Array(size).fill(IGNORE_INDEX);
  const positions = new Int32Array(size);
  const segments = new Int32Array(size).fill(PADDING_SEGMENT);
  let reach = 1;
  examples.forEach((example, b) => {
    const { length } = example.inputIds;
    const { seqLengths = [length] } = example;
    checkLengths(seqLengths, length, b);
    const start = b * width;
    let at = start;
    seqLengths.forEach((n, segment) => {
      reach = Math.max(reach, n);
      for (let t = 0; t < n; t++, at++) {
        inputIds[at] = example.inputIds[at - start]!;
        positions[at] = t;
        segments[at] = segment;
        if (t > 0) labels[at - 1] = example.labels[at - start]!;
      }
    });
    for (let t = 0; at < start + width; t++, at++) positions[at] = t;
  });
  return {
    inputIds: { data: inputIds, shape, dtype: 'int32' },
    labels: { data: labels, shape, dtype: 'int32' },
    positions: { data: positions, shape, dtype: 'int32', reach },
    segments: { data: segments, shape, dtype: 'int32' },
  };
}

/** How many of these labels are to be learned. */
export function countLabels(labels: Iterable<number>): number {
  let count = 0;
  for (const label of labels) if (label !== IGNORE_INDEX) count++;
  return count;
}

function checkLengths(seqLengths: readonly number[], length: number, row: number): void {
  const sum = seqLengths.reduce((n, part) => n + part, 0);
  if (sum === length && seqLengths.every((part) => Number.isInteger(part) && part >= 0)) return;
  throw new AttuneError(
    'SEQ_LENGTHS',
    `row ${row} of a batch: seqLengths [${seqLengths.join(', ')}] sum to ${sum}, but the row has ${length} tokens.`,
    { remedy: 'Give the length of each example of the packed row, in order.' },
  );
}
