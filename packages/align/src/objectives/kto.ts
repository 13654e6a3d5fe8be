import { z } from 'zod';
import { defineAlignmentObjective } from '../contract/alignmentObjective.js';
import { klBaseline, ktoLosses } from '../losses/kto.js';

/** Options of KTO. */
export const ktoOptions = z.strictObject({
  /** Strength of the pull to the reference, above 0. Default 0.1. */
  beta: z.number().positive().default(0.1),
  /** "apo_zero_unpaired" has no KL term. Default "kto". */
  lossType: z.enum(['kto', 'apo_zero_unpaired']).default('kto').meta({ aka: 'loss' }),
  /**
   * Weight of desirable answers. With n of each kind, weight times n of the desirable ones should
   * be 1 to 4/3 of that of the others. Default 1.
   */
  desirableWeight: z.number().min(0).default(1),
  /** Weight of undesirable answers. Default 1. */
  undesirableWeight: z.number().min(0).default(1),
  /**
   * Whose answer stands in the KL term of a row. "batch": that of the row before it, as in TRL; a
   * batch of one pairs with itself. "dataset": one of another row of the data set. Default "batch".
   */
  klPairs: z.enum(['batch', 'dataset']).default('batch').meta({ aka: 'kl mismatched' }),
});

/**
 * KTO: answers that are labelled one by one, weighed against the KL to the reference, z0. Logs `kl`
 * as TRL does, cut off at 0, and `klRaw` as it was estimated.
 *
 * @see arXiv 2402.01306
 */
export const ktoObjective = defineAlignmentObjective({
  name: 'kto',
  format: 'unpaired',
  options: ktoOptions,
  // Which answers are mismatched follows from the order of the rows, so it is kept, as in TRL.
  defaults: { trainSamplingStrategy: 'sequential' },
  needsReference: true,
  readsMismatched: ({ lossType }) => lossType === 'kto',
  loss({ logProbs, reference, labels, mismatched }, options) {
    const logRatios = logProbs.sub(reference!);
    const baseline = mismatched && klBaseline(mismatched);
    return {
      losses: ktoLosses({ logRatios, labels, ...(baseline && { baseline: baseline.kl }) }, options),
      rewards: logRatios.detach().mul(options.beta),
      metrics: baseline
        ? {
            kl: { sum: baseline.kl, count: 1 },
            klRaw: { sum: baseline.raw, count: 1 },
          }
        : { kl: { sum: labels.engine.zeros([1]), count: 1 } }, // 0 as TRL logs it
    };
  },
});
