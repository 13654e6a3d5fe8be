/**
 * An alignment objective in one file: DPO that does not pay for length (R-DPO, Park et al. 2024,
 * https://arxiv.org/abs/2403.19159).
 */
import { AlignmentObjectives, defineAlignmentObjective } from '@attune/align';
import { definePlugin } from '@attune/core';
import { z } from 'zod';

/** -log sigmoid(beta (log-ratio of chosen - of rejected) - alpha (|chosen| - |rejected|)). */
export const lengthDpo = defineAlignmentObjective({
  name: 'length-dpo',
  format: 'pairs',
  options: z.strictObject({
    /** Strength of the pull to the reference. */
    beta: z.number().positive().default(0.1),
    /** What a token more is taken to be worth, nats. */
    alpha: z.number().min(0).default(0.01),
  }),
  needsReference: true,
  loss({ chosen, rejected, reference, chosenCounts, rejectedCounts }, { beta, alpha }) {
    const better = chosen.sub(reference!.chosen).mul(beta); // [B]
    const worse = rejected.sub(reference!.rejected).mul(beta);
    const longer = chosenCounts.sub(rejectedCounts);
    return {
      losses: better.sub(worse).sub(longer.mul(alpha)).logSigmoid().neg(),
      rewards: { chosen: better.detach(), rejected: worse.detach() },
      metrics: { longer }, // logged as its mean over pairs
    };
  },
});

/** For `createAttune({ plugins: [align(), lengthDpoPlugin()] })`: the objective by its name. */
export const lengthDpoPlugin = () =>
  definePlugin({
    name: 'length-dpo',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(AlignmentObjectives, lengthDpo),
  });
