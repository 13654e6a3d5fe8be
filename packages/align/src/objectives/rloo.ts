import {
  type DeviceBatch,
  type LanguageModel,
  type LossOutput,
  type Objective,
  sequenceLogProbs,
  type Tensor,
} from '@attune/core';
import { type PolicyOptions, rlooLoss } from '../losses/policyGradient.js';
import { clipsOf, leastOf, mostOf } from '../losses/policyMetrics.js';
import type { Reference } from '../reference/reference.js';
import { rlooAdvantages } from '../rollout/advantages.js';
import type { PromptExample } from '../rows/promptRows.js';
import { type PolicyParts, policyObjective } from './policyObjective.js';

/** What {@link rlooObjective} takes: names and defaults are in {@link RlooArguments}. */
export interface RlooOptions extends Omit<PolicyParts, 'method'> {
  readonly beta: number;
  readonly clip: Pick<PolicyOptions, 'epsilonLow' | 'epsilonHigh'>;
  readonly rewardClipRange: readonly [number, number] | null;
  readonly normalizeAdvantages: boolean;
  /** Needed where beta is not 0. */
  readonly reference: Reference | null;
}

/**
 * REINFORCE with a leave-one-out baseline (arXiv:2402.14740): {@link rlooAdvantages} of the rewards
 * less beta times the KL to the reference, and the clipped ratio of whole sequences,
 * {@link rlooLoss}.
 */
export function rlooObjective(options: RlooOptions): Objective<PromptExample> {
  const { beta, clip, rewardClipRange, normalizeAdvantages, temperature } = options;
  return policyObjective({
    ...options,
    method: {
      name: 'rloo',
      fingerprint: {
        beta,
        ...clip,
        rewardClipRange: rewardClipRange && [...rewardClipRange],
        normalizeAdvantages,
        temperature,
      },
      needsOld: true,
      reference: beta === 0 ? null : options.reference,
      advantages: (matrix, drift) =>
        rlooAdvantages(matrix, {
          ...(drift && { penalties: drift.map((kl) => beta * kl) }),
          rewardClipRange,
          normalizeAdvantages,
        }),
      metrics({ drift, tokens }): Record<string, number> {
        if (!drift) return {};
        const sum = drift.reduce((total, kl) => total + kl, 0);
        return { kl: sum / Math.max(tokens, 1), 'objective/kl': sum / drift.length };
      },
      loss: (model, batch) => recordLoss(model, batch, clip, temperature),
    },
  });
}

function recordLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  clip: RlooOptions['clip'],
  temperature: number,
): LossOutput {
  const { engine } = model;
  const { advantages, mask, old } = batch;
  const { sums, statistics } = sequenceLogProbs(model, batch, {
    temperature,
    statistics: ['entropy'],
  });
  const { losses, ratio } = rlooLoss(
    { logProbs: sums, oldLogProbs: old!.sum(1), advantages: advantages! },
    clip,
  );
  const metrics = engine.noGrad(() => {
    const { isLow, isHigh } = clipsOf(ratio, advantages!, clip); // [B]
    const tokens = mask!.sum().maximum(engine.full([], 1));
    const entropy = statistics!.entropy!.mul(mask!).sum().div(tokens);
    const all = engine.full(ratio.shape, 1);
    const mean = (x: Tensor) => ({ sum: x.reshape(-1).mean().reshape(1), count: 1 });
    return {
      entropy: mean(entropy),
      'policy/entropy_avg': mean(entropy),
      'objective/entropy': mean(sums.neg()),
      'clip_ratio/low_mean': mean(isLow),
      'clip_ratio/high_mean': mean(isHigh),
      'clip_ratio/region_mean': mean(isLow.add(isHigh)),
      'clip_ratio/low_min': leastOf(isLow, all),
      'clip_ratio/high_max': mostOf(isHigh, all),
    };
  });
  return { loss: losses.sum(), metrics };
}
