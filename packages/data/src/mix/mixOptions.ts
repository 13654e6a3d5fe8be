import type { OptionsInput, Retyped } from '@attune/core/util';
import { z } from 'zod';
import { inFiles } from '../contract/inFiles.js';
import type { RowsInput } from '../contract/rowsInput.js';
import { namedRows } from '../sources/namedRows.js';

const rowsSchema = inFiles(
  z.union([
    z.string().min(1),
    z.custom<RowsInput>(
      (value) =>
        typeof value === 'object' &&
        value !== null &&
        (Symbol.asyncIterator in value || Symbol.iterator in value),
      'expected rows: an array, an iterable, what fromJsonl and its like give, or the path of a file',
    ),
  ]),
  { read: namedRows },
);

const shareShape = {
  /** Share of the RESULT that these rows are: 0.08 makes 8 of 100 rows that come out. */
  ratio: z.number().gt(0).max(1).optional(),
  /** Share relative to the other weights. They need not sum to one. */
  weight: z.number().min(0).optional().meta({ aka: 'fraction probability probabilities' }),
};

const sourceShape = {
  /** What reports, errors and `sourceColumn` call it. */
  name: z.string().min(1),
  /**
   * Rows, or the path of their file. They are read once for each pass; a generator, which ends, is
   * held in a file.
   */
  rows: rowsSchema.meta({ aka: 'dataset data path' }),
  ...shareShape,
  /** How many rows it has, where that is known: saves a pass that counts them. */
  size: z.int().min(1).optional(),
};

const ownShape = {
  /** What reports and `sourceColumn` call the rows that came in. Default "rows". */
  name: z.string().min(1).default('rows'),
  ...shareShape,
};
export const ownSchema = z.strictObject(ownShape);

/** How shares of sources are set. */
const MIX_STRATEGIES = [
  'ratio',
  'uniform',
  'weighted',
  'temperature',
  'concatenate',
  'interleave',
] as const;

const STOPPING = ['first_exhausted', 'all_exhausted', 'all_exhausted_without_replacement'] as const;

const mixShape = {
  /**
   * How many rows of each source come out. n is the size of a source, N that of the result:
   *
   * - `ratio`: sources with a `ratio` r give r * N rows. Those without one give every row once, and
   *   set N. When each has one, N is the largest without a repeated row.
   * - `uniform`: N / sources of each.
   * - `weighted`: N * weight / sum of weights.
   * - `temperature`: N * n^(1/T) / sum of n^(1/T).
   * - `concatenate`: the first rows of each, one source behind the other, as TRL's
   *   `DatasetMixtureConfig`: weights are normalised, N is the largest without a repeated row.
   *   Without weights every row.
   * - `interleave`: rows in turn, as `datasets.interleave_datasets`; with weights, a source is
   *   drawn for each row.
   *
   * Default: `ratio` where a source has one, else `weighted` where one has a weight, else
   * `uniform`.
   */
  strategy: z.enum(MIX_STRATEGIES).optional(),
  /** T of `temperature`. 1: as large as they are; towards infinity: uniform. Default 2, as T5's. */
  temperature: z.number().positive().optional(),
  /**
   * When `interleave` ends: with the first source that has no more rows; when each row came at
   * least once (shorter ones begin again); or when each came exactly once. Default
   * `first_exhausted`.
   */
  stopping: z.enum(STOPPING).optional().meta({ aka: 'stopping_strategy' }),
  /**
   * N of `uniform`, `weighted`, `temperature`, and of `ratio` where each source has one. Default:
   * all sizes together; of `ratio` the largest without a repeated row.
   */
  total: z.int().min(1).optional().meta({ aka: 'num_samples' }),
  /**
   * When a source has fewer rows than its share: they are repeated in whole passes, fewer come out,
   * or it is an error. Default `repeat`.
   */
  onShortage: z.enum(['repeat', 'fewer', 'error']).optional(),
  /** Which rows come when not all do: evenly drawn by seed, or the first. Default `sample`. */
  take: z.enum(['sample', 'first']).optional(),
  /**
   * `spread`: every part of the result has the shares of the whole. `shuffle`: the source of each
   * row is random. `concatenate`: one behind the other. Rows of one source stay in their order.
   * Default `spread`; of `concatenate` `concatenate`.
   */
  order: z.enum(['spread', 'shuffle', 'concatenate']).optional(),
  /** A new column with the name of the source. Default: none; the origin of a row tells it, too. */
  sourceColumn: z.string().min(1).nullable().default(null),
  /** Seeds what is drawn. Default: the seed of the pipeline. */
  seed: z.int().min(0).optional(),
};

/** The shape of the options of the stage. */
const mixStageShape = {
  /** What is mixed into the rows. */
  sources: z.array(z.strictObject(sourceShape)).min(1),
  /** The share of the rows that come in. Default: with `ratio`, what the others leave. */
  own: ownSchema.prefault({}),
  ...mixShape,
};

/** Rows with a share. */
export type MixSource = OptionsInput<typeof sourceShape>;

/** Options of {@link mix}. */
export type MixOptions = OptionsInput<typeof mixShape>;

/** Options of the stage `mix` of a pipeline, which mixes sources into its rows. */
export interface MixStageOptions
  extends Retyped<
    OptionsInput<typeof mixStageShape>,
    { sources: readonly MixSource[]; own: OptionsInput<typeof ownShape> | undefined }
  > {}

export const mixStageSchema = z.strictObject(mixStageShape);
/** The function has no rows of its own. */
export const mixSchema = z.strictObject({ sources: mixStageShape.sources, ...mixShape });
export type ParsedMix = z.output<typeof mixStageSchema>;
export type MixStrategy = (typeof MIX_STRATEGIES)[number];
export type Stopping = (typeof STOPPING)[number];
