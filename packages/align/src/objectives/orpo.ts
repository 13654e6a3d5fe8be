import { z } from 'zod';
import { defineAlignmentObjective } from '../contract/alignmentObjective.js';
import { oddsRatio } from '../losses/oddsRatio.js';

/**
 * ORPO: the chosen text is learned whole, prompt and answer, and its answer's odds shall be larger
 * than those of the rejected answer. Without a reference.
 *
 * @see arXiv 2403.07691
 */
export const orpoObjective = defineAlignmentObjective({
  name: 'orpo',
  format: 'pairs',
  options: z.strictObject({
    /** Weight of the odds ratio, the paper's lambda. Default 0.1. */
    beta: z.number().min(0).default(0.1),
  }),
  needsReference: false,
  readsPrompt: true,
  tokenizesAsCpo: true,
  loss(pairs, { beta }) {
    const { chosenCounts, rejectedCounts, promptNll, promptTokensPerPair } = pairs;
    const chosen = pairs.chosen.div(chosenCounts);
    const rejected = pairs.rejected.div(rejectedCounts);
    const { logOdds, ratio } = oddsRatio(chosen, rejected);
    const nll = promptNll!.div(promptTokensPerPair!);
    const worth = (mean: typeof chosen) => mean.detach().mul(beta);
    return {
      losses: nll.sub(ratio.mul(beta)),
      rewards: { chosen: worth(chosen), rejected: worth(rejected) },
      logProbs: { chosen: chosen.detach(), rejected: rejected.detach() },
      metrics: { nllLoss: nll, logOddsRatio: ratio, logOddsChosen: logOdds },
    };
  },
});
