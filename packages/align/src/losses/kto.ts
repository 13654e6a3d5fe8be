import type { Tensor } from '@attune/core';

/** What KTO reads of a batch of B answers: float32 [B]. */
export interface KtoInputs {
  /** log p / p_ref of each answer, summed over its tokens, nats. */
  readonly logRatios: Tensor;
  /** 1 for a desirable answer, 0 for an undesirable one. */
  readonly labels: Tensor;
  /** The point of reference z0, nats, one number; without it 0, which is `apo_zero_unpaired`. */
  readonly baseline?: Tensor;
}

/** Coefficients of KTO. */
export interface KtoOptions {
  /** Strength of the pull to the reference, above 0. TRL: 0.1. */
  readonly beta: number;
  /**
   * Weight of desirable answers. Default 1. The paper wants n_D weight_D / (n_U weight_U) in 1 to
   * 4/3.
   */
  readonly desirableWeight?: number;
  /** Weight of undesirable answers. Default 1. */
  readonly undesirableWeight?: number;
}

/**
 * KTO: weight_D sigmoid(-beta (u - z0)) of a desirable answer, weight_U sigmoid(beta (u - z0)) of
 * an undesirable one, where u is the log-ratio. [B]. Without `baseline` that is
 * `apo_zero_unpaired`.
 *
 * @see arXiv 2402.01306, equations 7 and 8; 2408.06266, equation 7
 */
export function ktoLosses(inputs: KtoInputs, options: KtoOptions): Tensor {
  const { logRatios, labels, baseline } = inputs;
  const { beta, desirableWeight = 1, undesirableWeight = 1 } = options;
  const gain = baseline ? logRatios.sub(baseline.detach()) : logRatios;
  const sign = labels.mul(-2).add(1); // -1 where desirable
  const weights = labels.mul(desirableWeight - undesirableWeight).add(undesirableWeight);
  return gain.mul(beta).mul(sign).sigmoid().mul(weights);
}

/**
 * z0 of KTO: max(0, mean of log p / p_ref over answers that belong to other prompts), nats, [1]. An
 * estimate of KL(p || p_ref). `raw` is the mean before it is cut off at 0: below 0 it says that the
 * estimate is noise. No gradient.
 *
 * @param mismatched log-ratios of the mismatched answers, [B]
 */
export function klBaseline(mismatched: Tensor): { readonly kl: Tensor; readonly raw: Tensor } {
  return mismatched.engine.noGrad(() => {
    const raw = mismatched.mean().reshape(1);
    return { kl: raw.relu(), raw };
  });
}

/** Sums over each class of a batch: one number each. */
export interface ClassSums {
  readonly desirable: Tensor;
  readonly undesirable: Tensor;
}

/**
 * Sums of a value over desirable and over undesirable answers; those of ones are the counts. No
 * gradient.
 *
 * @param values [B]
 * @param labels [B], 1 where desirable, else 0
 */
export function classSums(values: Tensor, labels: Tensor): ClassSums {
  return values.engine.noGrad(() => {
    const desirable = values.mul(labels).sum();
    return { desirable, undesirable: values.sum().sub(desirable) };
  });
}
