import {
  type DeviceBatch,
  type LanguageModel,
  type LossOutput,
  type Objective,
  sequenceLogProbs,
} from '@attune/core';
import { completionWeights, type PolicyOptions, policyGradient } from '../losses/policyGradient.js';
import { policyMetrics } from '../losses/policyMetrics.js';
import type { Reference } from '../reference/reference.js';
import {
  grpoAdvantages,
  type MultiObjectiveAggregation,
  type ScaleRewards,
} from '../rollout/advantages.js';
import { floats } from '../rollout/completionBatch.js';
import type { PromptExample } from '../rows/promptRows.js';
import { type PolicyParts, policyObjective } from './policyObjective.js';

/** What {@link grpoObjective} takes: names and defaults are in {@link GrpoArguments}. */
export interface GrpoOptions extends Omit<PolicyParts, 'method'> {
  readonly loss: PolicyOptions;
  readonly scaleRewards: ScaleRewards;
  readonly multiObjectiveAggregation: MultiObjectiveAggregation;
  readonly topEntropyQuantile: number;
  /** Needed where beta is not 0. */
  readonly reference: Reference | null;
}

/**
 * Group-relative policy optimisation (arXiv:2402.03300): several completions of each prompt are
 * drawn and rated, and each is learned from by how much better it is than the others. The loss of a
 * token is {@link policyGradient}; how tokens are averaged is {@link completionWeights}.
 */
export function grpoObjective(options: GrpoOptions): Objective<PromptExample> {
  const { loss, scaleRewards, multiObjectiveAggregation, topEntropyQuantile, schedule } = options;
  const { temperature, setup } = options;
  const { lossType } = loss;
  const { stepsPerGeneration, microBatches, numIterations } = schedule;
  const isKept = topEntropyQuantile < 1;
  return policyObjective({
    ...options,
    method: {
      name: 'grpo',
      fingerprint: {
        ...loss,
        scaleRewards,
        multiObjectiveAggregation,
        topEntropyQuantile,
        temperature,
      },
      // In the only update of a rollout the policy is still the one that drew it.
      needsOld: (stepsPerGeneration / microBatches) * numIterations > 1,
      reference: loss.beta === 0 ? null : options.reference,
      advantages: (matrix) =>
        grpoAdvantages(matrix, { scaleRewards, aggregation: multiObjectiveAggregation }),
      weights: (counts, ofRollout) =>
        completionWeights(lossType, {
          counts,
          ofRollout,
          maxCompletionLength: setup.sampling.maxCompletionLength,
        }),
      loss: (model, batch) => grpoLoss(model, batch, loss, temperature),
      ...(isKept && {
        async keptTokens(batch, { model, inference }) {
          const { entropy } = await inference(batch, (b) => ({
            entropy: sequenceLogProbs(model, b, { temperature, statistics: ['entropy'] })
              .statistics!.entropy!,
          }));
          const { data, shape } = batch.mask!;
          return { kept: floats(mostUncertain(entropy!.data, data, topEntropyQuantile), shape) };
        },
      }),
    },
  });
}

function grpoLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  options: PolicyOptions,
  temperature: number,
): LossOutput {
  const { advantages, mask, weights, old, ref, sampling, kept } = batch;
  const counts = batch.counts!.maximum(model.engine.full([], 1));
  const { perToken, statistics } = sequenceLogProbs(model, batch, {
    temperature,
    perToken: true,
    statistics: ['entropy'],
  });
  const gradient = policyGradient(
    {
      logProbs: perToken!,
      oldLogProbs: old,
      refLogProbs: ref,
      samplingLogProbs: sampling,
      advantages: advantages!,
      mask: mask!,
      counts,
      kept,
    },
    options,
  );
  const ofCompletions = gradient.perToken.mul(mask!).sum(1); // [B]
  const metrics = policyMetrics(
    {
      gradient,
      entropy: statistics!.entropy!,
      logProbs: perToken!,
      refLogProbs: ref,
      mask: mask!,
      counts,
      advantages: advantages!,
    },
    options,
  );
  return { loss: ofCompletions.mul(weights!).sum(), metrics };
}

/**
 * 1 for the tokens whose entropy is in the upper share `quantile` of those that count: at least the
 * quantile 1 - `quantile`, interpolated as torch.quantile does (arXiv:2506.01939).
 */
export function mostUncertain(
  entropies: ArrayLike<number>,
  mask: ArrayLike<number>,
  quantile: number,
): Float32Array {
  const known = Array.from(entropies)
    .filter((_, t) => mask[t]! > 0)
    .sort((a, b) => a - b);
  const at = (known.length - 1) * (1 - quantile);
  const [below, above] = [known[Math.floor(at)] ?? 0, known[Math.ceil(at)] ?? 0];
  const threshold = below + (above - below) * (at - Math.floor(at));
  return Float32Array.from(entropies, (entropy, t) =>
    Number(mask[t]! > 0 && entropy >= Math.fround(threshold)),
  );
}
