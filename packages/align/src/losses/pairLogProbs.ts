import type { Tensor } from '@attune/core';

/** What a pair loss reads of a batch of B pairs: float32 [B] on one device. */
export interface PairLogProbs {
  /** log p(chosen answer | prompt) of the policy, summed over answer tokens, nats. */
  readonly chosen: Tensor;
  /** The same of the rejected answer. */
  readonly rejected: Tensor;
  /** log p(chosen answer | prompt) of the reference, nats. No gradient flows into it. */
  readonly refChosen: Tensor;
  readonly refRejected: Tensor;
  /** Answer tokens of `chosen`, at least 1. */
  readonly chosenCounts: Tensor;
  readonly rejectedCounts: Tensor;
  /**
   * What `sft` learns from, where `chosen` is no plain sum (`ldAlpha`): the plain sum. Default
   * `chosen`.
   */
  readonly chosenTokens?: Tensor;
  /**
   * Tokens of a chosen answer, the mean over all pairs of the accumulated batch, one number: what
   * `sft` divides by. Default: the mean over this batch.
   */
  readonly tokensPerPair?: Tensor;
}

/** Regularisers between policy and reference, by TRL's names. */
export type DivergenceType = 'reverse_kl' | 'forward_kl' | 'js_divergence' | 'alpha_divergence';

/** Coefficients of pair losses. Defaults are TRL's. */
export interface PairLossOptions {
  /** Strength of the pull to the reference, above 0; of `ipo` the paper's tau. TRL: 0.1. */
  readonly beta: number;
  /**
   * Share e of pairs whose labels are taken to be flipped, 0 to 0.5. `sigmoid`, `robust`,
   * `exo_pair`, `aot` and `aot_unpaired` read it. Default 0.
   */
  readonly labelSmoothing?: number;
  /** Temperature tau of `discopop`. Default 0.05. */
  readonly discopopTau?: number;
  /** Default 'reverse_kl', which is plain DPO. */
  readonly fDivergenceType?: DivergenceType;
  /** alpha of 'alpha_divergence'. Default 0.5. */
  readonly fAlphaDivergenceCoef?: number;
}

/** One loss for each pair, [B]. It is a pure function: no model, no batch, no state. */
export type PairLoss = (x: PairLogProbs, options: PairLossOptions) => Tensor;

/** One number for each answer of a pair, [B] each. */
export interface PairValues {
  readonly chosen: Tensor;
  readonly rejected: Tensor;
}

/**
 * log p / p_ref of each answer, nats. Times beta they are the implicit rewards, whatever the
 * divergence.
 */
export const logRatios = (x: PairLogProbs): PairValues => ({
  chosen: x.chosen.sub(x.refChosen),
  rejected: x.rejected.sub(x.refRejected),
});

/** -log sigmoid(x), for any x. */
export const softplusNeg = (x: Tensor): Tensor => x.logSigmoid().neg();

/** -(1 - e) log sigmoid(x) - e log sigmoid(-x): labels of which a share e is flipped. */
export const smoothedLogistic = (x: Tensor, e = 0): Tensor =>
  e === 0
    ? softplusNeg(x)
    : softplusNeg(x)
        .mul(1 - e)
        .add(softplusNeg(x.neg()).mul(e));

/** The sum of all numerators over that of all denominators, once for each of B pairs: [B]. */
export const pooledMean = (numerators: Tensor, denominators: Tensor): Tensor =>
  numerators
    .sum()
    .div(denominators.sum())
    .expand(...numerators.shape);
