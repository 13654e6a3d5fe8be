import { z } from 'zod';
import { defineAlignmentObjective } from '../contract/alignmentObjective.js';
import { logRatios } from '../losses/pairLogProbs.js';
import { pairLosses } from '../losses/pairLosses.js';

/**
 * IPO: the difference of mean log-ratios of a token shall be 1 / (2 beta), not as large as it gets.
 * It is `dpo` with `lossType: 'ipo'`.
 *
 * @see arXiv 2310.12036
 */
export const ipoObjective = defineAlignmentObjective({
  name: 'ipo',
  format: 'pairs',
  options: z.strictObject({
    /** The paper's tau, above 0: the larger, the nearer to the reference. Default 0.1. */
    beta: z.number().positive().default(0.1),
  }),
  needsReference: true,
  loss({ reference, ...pairs }, { beta }) {
    const x = { ...pairs, refChosen: reference!.chosen, refRejected: reference!.rejected };
    const { chosen, rejected } = logRatios(x);
    return {
      losses: pairLosses.ipo(x, { beta }),
      rewards: { chosen: chosen.detach().mul(beta), rejected: rejected.detach().mul(beta) },
    };
  },
});
