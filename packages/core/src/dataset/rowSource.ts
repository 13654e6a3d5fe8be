import type { Dataset } from './dataset.js';
import type { IterableDataset } from './iterableDataset.js';

/**
 * Rows for a Trainer: a Dataset, or anything that can be iterated, such as arrays and generators.
 * All but an IterableDataset are read into memory.
 */
export type RowSource =
  | Dataset<unknown>
  | IterableDataset<unknown>
  | (Iterable<unknown> & object) // not a path: text can be iterated
  | AsyncIterable<unknown>;
