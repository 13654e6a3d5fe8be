import { collatePredictions, type DeviceBatch, type HostBatch } from '@attune/core/training';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { labelCounts, vector } from './collatePairs.js';
import { mismatch, type UnpairedExample } from './unpairedRows.js';

const collateUnpairedShape = {
  /** Up to which padded lengths are rounded up, and beyond which mismatched texts are cut off. */
  maxLength: z.number().min(1),
  /** Whether there are mismatched texts: losses without a KL term need none. Default true. */
  withKl: z.boolean().default(true),
  /**
   * Rows among which answers move on by one: the batch size of training, in TRL for evaluation too.
   * Default: all rows of the batch.
   */
  klBlock: z.int().min(1).optional(),
  /** What is cut off of a mismatched text that is too long. Default 'keep_start'. */
  truncationMode: z.enum(['keep_start', 'keep_end']).default('keep_start'),
};
const collateUnpairedOptions = z.strictObject(collateUnpairedShape);

/** Options of {@link collateUnpaired}. */
export type CollateUnpairedOptions = OptionsInput<typeof collateUnpairedShape>;

/** The prefix of arrays about mismatched texts. */
const KL = 'kl:';

/**
 * Labelled answers as a batch of B rows, padded on the right. Beside what `collatePredictions`
 * makes:
 * - `isDesirable`, float32 [B]: 1 for an answer to learn, 0 for one to unlearn;
 * - `labelCounts`, float32 [B]: labels of each row, at least 1;
 * - for the KL term, B further texts of which `mismatchedBatch` makes a batch: each prompt with the
 *   answer of the row before it within its block, the first one with that of the last. A block of
 *   one row pairs with itself. Examples that bring theirs (`klPairs: 'dataset'`) keep it.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function collateUnpaired(
  examples: readonly UnpairedExample[],
  options: CollateUnpairedOptions,
): HostBatch {
  const { maxLength, withKl, klBlock, truncationMode } = parseOptions(
    collateUnpairedOptions,
    options,
    { where: 'collateUnpaired' },
  );
  const batch = collatePredictions(
    examples.map(({ text }) => text),
    maxLength,
  );
  const own = {
    ...batch,
    labelCounts: labelCounts(batch.labels),
    isDesirable: vector(examples.map(({ isDesirable }) => (isDesirable ? 1 : 0))),
  };
  if (!withKl) return own;
  const size = klBlock ?? examples.length;
  const others = examples.map((example, i) => {
    const start = i - (i % size);
    const last = Math.min(start + size, examples.length) - 1;
    const other = examples[i === start ? last : i - 1]!;
    return example.mismatched ?? mismatch(example, other, maxLength, truncationMode);
  });
  const kl = Object.entries(collatePredictions(others, maxLength));
  return { ...own, ...Object.fromEntries(kl.map(([name, array]) => [KL + name, array])) };
}

/** The mismatched texts of a batch of `collateUnpaired`, as `sequenceLogProbs` reads them. */
export const mismatchedBatch = (batch: DeviceBatch): DeviceBatch =>
  Object.fromEntries(
    Object.entries(batch)
      .filter(([name]) => name.startsWith(KL))
      .map(([name, tensor]) => [name.slice(KL.length), tensor]),
  );
