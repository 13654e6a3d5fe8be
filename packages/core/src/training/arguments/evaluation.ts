import { z } from 'zod';
import { count, strategy } from './kinds.js';

/** When to evaluate, and what counts as better. */
export const evaluation = {
  /** Rows of a batch in evaluation. Default 8. The result does not depend on it. */
  perDeviceEvalBatchSize: count
    .default(8)
    .meta({ aka: 'evalbatchsize validationbatchsize valbatchsize pergpuevalbatchsize' }),
  /** When to evaluate. Default "no". */
  evalStrategy: strategy
    .default('no')
    .meta({ aka: 'evaluationstrategy evaluate doeval eval validationstrategy' }),
  /** Updates between two evaluations. Default: loggingSteps. */
  evalSteps: count.optional().meta({
    aka: 'evaluationsteps evalevery evalinterval validationsteps valinterval validateevery',
    noneIsDefault: true,
  }),
  /** Evaluate before the first update too. Default false. */
  evalOnStart: z.boolean().default(false),
  /**
   * No evaluation before this many updates (evalStrategy "steps") or epochs ("epoch"). Default 0.
   */
  evalDelay: z.number().min(0).default(0),
  /**
   * Which evaluation metric decides what is best: "loss", "evalLoss" and "eval_loss" are the same.
   * Default: the loss, if loadBestModelAtEnd.
   */
  metricForBestModel: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ aka: 'metric bestmetric monitor' }),
  /**
   * Whether more of that metric is better. Default: true, unless its name ends in "loss" or
   * "perplexity".
   */
  greaterIsBetter: z.boolean().optional().meta({ noneIsDefault: true }),
};
