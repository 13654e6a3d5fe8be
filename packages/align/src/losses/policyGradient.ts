import { ops, type Tensor } from '@attune/core';

/** What a policy gradient is computed from. Tensors are float32. */
export interface PolicyTokens {
  /** `[B, T]`: log p of each completion token, 0 elsewhere. Differentiable. */
  readonly logProbs: Tensor;
  /** `[B, T]`: the same when the completions were drawn. Default: `logProbs` itself, detached. */
  readonly oldLogProbs?: Tensor | undefined;
  /** `[B, T]`: those of the reference. Default: there is no KL term. */
  readonly refLogProbs?: Tensor | undefined;
  /** `[B, T]`: those that whoever drew the completions gave. Default: `oldLogProbs`. */
  readonly samplingLogProbs?: Tensor | undefined;
  /** [B] */
  readonly advantages: Tensor;
  /** `[B, T]`: 1 for completion tokens that count, 0 elsewhere. */
  readonly mask: Tensor;
  /** `[B]`: tokens of each row that count, at least 1. */
  readonly counts: Tensor;
  /** `[B, T]`: 1 for tokens whose advantage counts (`topEntropyQuantile`). Default: all. */
  readonly kept?: Tensor | undefined;
}

/** Coefficients of a policy gradient, as in TRL's GRPOConfig. */
export interface PolicyOptions {
  readonly lossType: PolicyLossType;
  readonly importanceSamplingLevel: 'token' | 'sequence';
  /** Weight of the KL to the reference; 0: none. */
  readonly beta: number;
  /** Ratios below 1 - epsilonLow are clipped. */
  readonly epsilonLow: number;
  /** Ratios above 1 + epsilonHigh are clipped; CISPO clamps at epsilonHigh itself. */
  readonly epsilonHigh: number;
  /** Upper bound of a ratio before it is compared with the clipped one; null: none. */
  readonly delta: number | null;
  readonly useBiasCorrectionKl: boolean;
  /** Rows of negative advantage whose mean drift is above this do not count; null: all do. */
  readonly offPolicyMaskThreshold: number | null;
  readonly sapoTemperaturePos: number;
  readonly sapoTemperatureNeg: number;
  readonly vespoKPos: number;
  readonly vespoLambdaPos: number;
  readonly vespoKNeg: number;
  readonly vespoLambdaNeg: number;
}

/** What {@link policyGradient} gives. */
export interface PolicyGradient {
  /** [B, T] or, of a sequence-level loss without more, [B, 1]; `mask` is not applied yet. */
  readonly perToken: Tensor;
  /** pi / pi_old, [B, T], or [B, 1] at the level of sequences; bounded by `delta`. */
  readonly ratio: Tensor;
  /** `[B, T]`: k3, times the ratio with `useBiasCorrectionKl`. */
  readonly kl: Tensor | null;
  /** `[B, 1]`: the weight of each sequence in VESPO. */
  readonly phi: Tensor | null;
}

interface Ratios extends PolicyTokens {
  /** log(pi / pi_old), [B, T]. */
  readonly logRatio: Tensor;
  /** pi / pi_old, [B, T] or [B, 1]. */
  readonly ratio: Tensor;
  /** [B, 1] */
  readonly advantage: Tensor;
}

/** What a loss type makes of the ratios. */
interface PolicyTerm {
  readonly perToken: Tensor;
  /** The ratio as its metrics see it. Default: as it came. */
  readonly ratio?: Tensor;
  readonly phi?: Tensor;
}

type PolicyLoss = (x: Ratios, options: PolicyOptions) => PolicyTerm;

/**
 * PPO's clipped objective: -min(min(rho, delta) A, clip(rho, 1 - eLow, 1 + eHigh) A). `delta`
 * bounds the loss of negative advantages (arXiv:2505.07291).
 */
const clipped: PolicyLoss = (
  { ratio, advantage },
  { epsilonLow, epsilonHigh, delta },
): PolicyTerm => {
  const within = atMost(atLeast(ratio, 1 - epsilonLow), 1 + epsilonHigh);
  const bounded = delta === null ? ratio : atMost(ratio, delta);
  const perToken = bounded.mul(advantage).minimum(within.mul(advantage)).neg();
  return { perToken, ratio: bounded };
};

/** CISPO: -sg(min(rho, eHigh)) A log p (arXiv:2506.13585): no token loses its gradient. */
const cispo: PolicyLoss = ({ ratio, advantage, logProbs }, { epsilonHigh }) => ({
  perToken: atMost(ratio.detach(), epsilonHigh).mul(advantage).mul(logProbs).neg(),
});

/** SAPO: -(4 / t) sigmoid(t (rho - 1)) A, t by the sign of A (arXiv:2511.20347). */
const sapo: PolicyLoss = ({ ratio, advantage }, { sapoTemperaturePos, sapoTemperatureNeg }) => {
  const isPositive = ops.greater(advantage, zero(advantage));
  const temperature = choose(isPositive, sapoTemperaturePos, sapoTemperatureNeg);
  const gate = ratio.sub(1).mul(temperature).sigmoid().mul(4).div(temperature);
  return { perToken: gate.mul(advantage).neg() };
};

/**
 * VESPO: -sg(phi(w)) A log p with phi(w) = e^l w^k e^(-l w) of the ratio w of the whole sequence; k
 * and l by the sign of A (arXiv:2602.10693).
 */
const vespo: PolicyLoss = ({ logRatio, advantage, logProbs, mask }, options) => {
  const bounded = atMost(atLeast(logRatio.detach(), -20), 20).mul(mask).sum(1, true);
  const logW = atMost(atLeast(bounded, Math.log(1e-8)), 20); // [B, 1]
  const isNegative = ops.less(advantage, zero(advantage));
  const k = choose(isNegative, options.vespoKNeg, options.vespoKPos);
  const lambda = choose(
    isNegative,
    Math.max(options.vespoLambdaNeg, 1e-4),
    Math.max(options.vespoLambdaPos, 1e-4),
  );
  const phi = lambda.add(k.mul(logW)).sub(lambda.mul(logW.exp())).exp();
  return { perToken: phi.mul(advantage).mul(logProbs).neg(), phi };
};

/**
 * By `lossType`. Those that share a function differ in what the sum over tokens is divided by:
 * {@link completionWeights}.
 */
export const policyLosses = {
  grpo: clipped,
  bnpo: clipped,
  dr_grpo: clipped,
  dapo: clipped,
  luspo: clipped,
  cispo,
  sapo,
  vespo,
} as const satisfies Readonly<Record<string, PolicyLoss>>;

/** TRL's `loss_type` of GRPO. */
export type PolicyLossType = keyof typeof policyLosses;

/** Whether it clips ratios on both sides, and logs how many. */
export const isClipping = (type: PolicyLossType): boolean => policyLosses[type] === clipped;

/**
 * The loss of each token, TRL's `GRPOTrainer._compute_loss` before it is averaged:
 * L(rho, A) + beta KL, with rho = pi / pi_old of the token (`importanceSamplingLevel: 'token'`) or
 * exp(mean over the sequence of log pi - log pi_old) (GSPO, arXiv:2507.18071), and KL =
 * exp(r) - r - 1, r = log p_ref - log p (k3). `useBiasCorrectionKl` multiplies the KL with rho,
 * which makes its gradient that of the reverse KL (arXiv:2512.02556).
 */
export function policyGradient(tokens: PolicyTokens, options: PolicyOptions): PolicyGradient {
  const { logProbs, refLogProbs, mask, counts, kept } = tokens;
  const old = tokens.oldLogProbs ?? logProbs.detach();
  const advantage = tokens.advantages.unsqueeze(1);
  const logRatio = logProbs.sub(old); // [B, T]
  const ratio =
    options.importanceSamplingLevel === 'token'
      ? logRatio.exp()
      : logRatio.mul(mask).sum(1).div(counts).exp().unsqueeze(1);
  const term: PolicyTerm = policyLosses[options.lossType](
    { ...tokens, logRatio, ratio, advantage },
    options,
  );
  let { perToken } = term;
  if (options.offPolicyMaskThreshold !== null)
    perToken = perToken.mul(onPolicy(tokens, old, options.offPolicyMaskThreshold));
  if (kept) perToken = perToken.mul(kept);
  let kl: Tensor | null = null;
  if (refLogProbs && options.beta !== 0) {
    const drift = refLogProbs.sub(logProbs);
    const k3 = drift.exp().sub(drift).sub(1);
    kl = options.useBiasCorrectionKl ? k3.mul(ratio) : k3;
    perToken = perToken.add(kl.mul(options.beta));
  }
  return { perToken, ratio: term.ratio ?? ratio, kl, phi: term.phi ?? null };
}

/**
 * 1 for rows of advantage 0 or more, and for those whose mean of log pi_sampling - log pi is at
 * most `threshold`, [B, 1] (arXiv:2512.02556, eq. 9).
 */
function onPolicy(tokens: PolicyTokens, old: Tensor, threshold: number): Tensor {
  const { logProbs, samplingLogProbs, advantages, mask, counts } = tokens;
  const drift = (samplingLogProbs ?? old).sub(logProbs.detach()).mul(mask).sum(1).div(counts);
  const isFar = ops.greater(drift, drift.engine.full([], threshold));
  const isBad = ops.less(advantages, zero(advantages));
  return isFar.mul(isBad).neg().add(1).unsqueeze(1);
}

/** What {@link completionWeights} divides by. */
export interface WeightFacts {
  /** Tokens that count, of each completion of the micro-batch. */
  readonly counts: ArrayLike<number>;
  /** Completions and tokens that count, of the whole rollout. */
  readonly ofRollout: { readonly completions: number; readonly tokens: number };
  readonly maxCompletionLength: number;
}

/**
 * What the sum over the tokens of each completion is multiplied by, so that the mean over the
 * completions of an update is the loss of TRL:
 *
 * | lossType | a token of a completion weighs |
 * |---|---|
 * | grpo, sapo | 1 / tokens of its completion |
 * | bnpo | completions / tokens of its micro-batch |
 * | dr_grpo | 1 / maxCompletionLength |
 * | dapo, cispo, vespo | completions / tokens of the rollout |
 * | luspo | 1 |
 */
export function completionWeights(type: PolicyLossType, facts: WeightFacts): Float32Array {
  const { counts, ofRollout, maxCompletionLength } = facts;
  const each = (weigh: (count: number) => number) =>
    Float32Array.from(counts, (count) => weigh(count));
  switch (type) {
    case 'grpo':
    case 'sapo':
      return each((count) => 1 / Math.max(count, 1));
    case 'bnpo': {
      const tokens = Array.from(counts).reduce((sum, count) => sum + count, 0);
      return each(() => counts.length / Math.max(tokens, 1));
    }
    case 'dr_grpo':
      return each(() => 1 / maxCompletionLength);
    case 'dapo':
    case 'cispo':
    case 'vespo':
      return each(() => ofRollout.completions / Math.max(ofRollout.tokens, 1));
    case 'luspo':
      return each(() => 1);
  }
}

/**
 * RLOO's loss of each completion, [B]: -min(rho A, clip(rho, 1 - eLow, 1 + eHigh) A) with the ratio
 * of whole sequences, rho = exp(sum over tokens of log pi - log pi_old).
 */
export function rlooLoss(
  x: {
    /** `[B]`: sums over the tokens of each completion. Differentiable. */
    readonly logProbs: Tensor;
    readonly oldLogProbs: Tensor;
    readonly advantages: Tensor;
  },
  { epsilonLow, epsilonHigh }: Pick<PolicyOptions, 'epsilonLow' | 'epsilonHigh'>,
): { readonly losses: Tensor; readonly ratio: Tensor } {
  const ratio = x.logProbs.sub(x.oldLogProbs).exp();
  const within = atMost(atLeast(ratio, 1 - epsilonLow), 1 + epsilonHigh);
  const losses = ratio.mul(x.advantages).minimum(within.mul(x.advantages)).neg();
  return { losses, ratio };
}

const zero = ({ engine }: Tensor): Tensor => engine.full([], 0);

const atMost = (x: Tensor, bound: number): Tensor => x.minimum(x.engine.full([], bound));

const atLeast = (x: Tensor, bound: number): Tensor => x.maximum(x.engine.full([], bound));

/** `a` where the condition is 1, `b` where it is 0. */
const choose = (condition: Tensor, a: number, b: number): Tensor => condition.mul(a - b).add(b);
