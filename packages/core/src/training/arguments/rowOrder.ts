import { z } from 'zod';
import { LENGTH_COLUMN } from './choices.js';
import { SAMPLING_STRATEGIES } from './sampling.js';

/** Seeds, lengths and the order of rows. */
export const rowOrder = {
  /** Seed of the order of rows, of dropout and of new adapters. Default 42. */
  seed: z.int().min(0).default(42).meta({ aka: 'randomseed randomstate' }),
  /**
   * Tokens of a row beyond which its end is cut off; null: what the model allows. Default null
   * (SFTTrainer: 1024).
   */
  maxLength: z.int().min(2).nullable().default(null).meta({
    aka: 'maxseqlength maxseqlen maxlen seqlen seqlength sequencelength contextlength contextwindow blocksize cutofflen maxtokens modelmaxlength',
  }),
  /** Seed of the order of rows; null: `seed`. Default null. */
  dataSeed: z.int().min(0).nullable().default(null),
  /**
   * "random": a fresh order of rows each epoch; "sequential": the order of the file;
   * "group_by_length": random, but rows of about the same length come together
   * (`lengthGroupedOrder`). A stream comes in its own order. Default "random".
   */
  trainSamplingStrategy: z.enum(SAMPLING_STRATEGIES).optional(),
  /** The older name of `trainSamplingStrategy: "group_by_length"`. Default false. */
  groupByLength: z.boolean().default(false),
  /**
   * The column with the lengths to group rows by, where every row has one; null, or where no row
   * has "length": tokens are counted, as they are for packed rows. Default "length".
   */
  lengthColumnName: z.string().min(1).nullable().default(LENGTH_COLUMN),
  /** false: `trainSamplingStrategy: "sequential"`. Default true. */
  shuffle: z.boolean().default(true),
  /**
   * Updates whose rows are collated, and those of a stream read and tokenised, while the device
   * works on those before. Default 2.
   */
  dataloaderPrefetchFactor: z
    .int()
    .min(0)
    .nullish()
    .transform((n) => n ?? 2)
    .meta({ aka: 'prefetch prefetchfactor' }),
  /** Leave out a last micro-batch that is not full. Default false. */
  dataloaderDropLast: z.boolean().default(false).meta({ aka: 'droplast' }),
};
