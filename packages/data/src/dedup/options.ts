import type { Row } from '@attune/core';
import type { OptionsInput, Retyped } from '@attune/core/util';
import { z } from 'zod';
import { inFiles } from '../contract/inFiles.js';
import type { RowsInput } from '../contract/rowsInput.js';
import { embedderChoice } from '../embedders/embedderChoice.js';
import { rowText } from '../schemas/rowText.js';
import { namedRows } from '../sources/namedRows.js';
import { normalizationShape } from './normalizeText.js';

const shingleShape = {
  /**
   * What a shingle is made of. Default 'auto': words, but characters for rows of fewer than 30
   * words and for text without spaces between words (Chinese, Japanese, Thai).
   */
  unit: z.enum(['auto', 'word', 'character']).default('auto'),
  /** Words, or characters, of a shingle. Default 5. A shorter row is one shingle. */
  size: z.int().min(1).max(64).default(5).meta({ aka: 'n ngram ngramsize' }),
};

const nearShape = {
  /** How candidates are found. Default 'minhash': MinHash with locality-sensitive hashing. */
  method: z.literal('minhash').default('minhash'),
  /**
   * Least Jaccard similarity of two sets of shingles, |A and B| / |A or B|, from which one row of
   * the two goes. It is counted in full: MinHash only says which pairs to count. Default 0.8.
   */
  threshold: z.number().gt(0).max(1).default(0.8).meta({ aka: 'jaccard jaccardthreshold' }),
  /** What rows are cut into. Default: 5 words, or 5 characters. */
  shingle: z.strictObject(shingleShape).prefault({}),
  /** Hashes of a signature. More find more of the pairs at the threshold. Default 128. */
  permutations: z.int().min(1).max(4096).default(128).meta({ aka: 'numperm' }),
  /**
   * How signatures are cut: rows with all hashes of one band alike are compared. Default: the
   * longest bands that find 99.5 % of the pairs right at the threshold (0.8: 21 bands of 6).
   */
  banding: z
    .strictObject({ bands: z.int().min(1), rows: z.int().min(1) })
    .nullable()
    .default(null),
  /**
   * What a cluster is. Default 'greedy': a row goes if it reaches the threshold with a row that
   * stays. 'components': rows that are linked by pairs, however long the chain, of which one stays;
   * rows at the two ends may have little in common.
   */
  grouping: z.enum(['greedy', 'components']).default('greedy').meta({ aka: 'cluster clustering' }),
  /**
   * Components of more rows are thinned as by 'greedy' instead: long chains join rows that have
   * nothing in common. Default 1000.
   */
  maxComponent: z.int().min(2).default(1000).meta({ aka: 'maxclustersize maxcluster' }),
  ...normalizationShape,
};

const semanticShape = {
  /**
   * Makes the vectors: an embedder, or a model to make one of (the mean of its last hidden states),
   * loaded or by its folder or Hub id.
   */
  embedder: embedderChoice.meta({ aka: 'model embeddingmodel' }),
  /** Least cosine of two vectors from which one row of the two goes. Default 0.95. */
  threshold: z.number().gt(0).max(1).default(0.95),
  /**
   * Up to so many rows that stay, each row is compared with all of them. Beyond, an index of random
   * hyperplanes names candidates, which finds 99.5 % of the pairs right at the threshold. Default
   * 100,000.
   */
  exactRows: z.int().min(0).default(100_000),
};

const keepColumnShape = {
  /** A column with a number in each row. Rows without one come last. */
  column: z.string().min(1),
  /** Default 'highest'. */
  order: z.enum(['highest', 'lowest']).default('highest'),
};

export const dedupeShape = {
  /** Leaves out rows of equal text. Default true: case, white space and width do not count. */
  exact: z.union([z.boolean(), z.strictObject(normalizationShape)]).default(true),
  /** Leaves out rows whose text is nearly equal. Default false; true: all defaults. */
  near: z
    .union([z.boolean(), z.strictObject(nearShape)])
    .default(false)
    .meta({ aka: 'minhash fuzzy' }),
  /**
   * Leaves out rows that mean the same as another. It needs an `embedder`. Default: off.
   */
  semantic: z.strictObject(semanticShape).nullable().default(null).meta({ aka: 'embedding' }),
  /** What is compared. Default: all text of a row, prompts and answers. */
  text: z
    .custom<(row: Row) => string>(
      (value) => typeof value === 'function',
      'expected a function of a row',
    )
    .default(() => rowText),
  /**
   * Which row of several stays: the first one (default), the one with the longest text, or the one
   * with the best number in a column. Rows in `test` and `validation` stay before those in `train`
   * whatever this says.
   */
  keep: z.union([z.enum(['first', 'longest']), z.strictObject(keepColumnShape)]).default('first'),
  /**
   * Rows of another set that none of these may be a copy of: an evaluation set. They are compared
   * with, and not given. Rows, or the path of their file. Default: none.
   */
  against: inFiles(
    z.custom<RowsInput | string>(
      (value) =>
        (typeof value === 'string' && value !== '') ||
        (typeof value === 'object' &&
          value !== null &&
          (Symbol.iterator in value || Symbol.asyncIterator in value)),
      'expected rows: an array, an iterable, what fromJsonl gives, or the path of a file',
    ),
    { read: namedRows },
  )
    .nullable()
    .default(null),
};

// Interfaces have a name in an editor, where Retyped alone would be written out.

type ExactOptions = OptionsInput<typeof normalizationShape>;
type ShingleOptions = OptionsInput<typeof shingleShape>;
type KeepColumn = OptionsInput<typeof keepColumnShape>;

/** How near-duplicates are found. */
export interface NearOptions
  extends Retyped<OptionsInput<typeof nearShape>, { shingle: ShingleOptions | undefined }> {}

/** How rows of the same meaning are found. */
export type SemanticOptions = OptionsInput<typeof semanticShape>;

const isWithin = ({ banding, permutations }: Pick<NearPlan, 'banding' | 'permutations'>): boolean =>
  banding === null || banding.bands * banding.rows <= permutations;

/** Options of {@link dedupe}. */
export interface DedupeOptions
  extends Retyped<
    OptionsInput<typeof dedupeShape>,
    {
      exact: boolean | ExactOptions | undefined;
      near: boolean | NearOptions | undefined;
      semantic: SemanticOptions | null | undefined;
      keep: 'first' | 'longest' | KeepColumn | undefined;
    }
  > {}

export const dedupeSchema = z
  .strictObject(dedupeShape)
  .refine(({ exact, near, semantic }) => exact !== false || near !== false || semantic !== null, {
    message: 'with near false and no semantic nothing is looked for',
    path: ['exact'],
  })
  .refine(({ near }) => typeof near === 'boolean' || isWithin(near), {
    message: 'bands * rows are more hashes than permutations, of which there are 128 by default',
    path: ['near', 'banding'],
  });

/** Options, checked and filled in. */
export type DedupePlan = z.output<typeof dedupeSchema>;

export type SemanticPlan = NonNullable<DedupePlan['semantic']>;

const exactSchema = z.strictObject(normalizationShape);
const nearSchema = z.strictObject(nearShape);

export type NearPlan = z.output<typeof nearSchema>;

/** `true` is all defaults, `false` null. */
export const exactOf = ({ exact }: DedupePlan) =>
  typeof exact === 'boolean' ? (exact ? exactSchema.parse({}) : null) : exact;

/** `true` is all defaults, `false` null. */
export const nearOf = ({ near }: DedupePlan): NearPlan | null =>
  typeof near === 'boolean' ? (near ? nearSchema.parse({}) : null) : near;
