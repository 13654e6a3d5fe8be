/** How log(p / p_ref) of a token becomes its KL. */
export const KL_ESTIMATORS = ['k1', 'k3'] as const;
/** Which estimate: see {@link tokenKl}. */
export type KlEstimator = (typeof KL_ESTIMATORS)[number];

/**
 * KL of one token from a sample of the policy, nats:
 *
 *     k1: d = log p - log p_ref;   k3: exp(-d) - 1 + d
 *
 * Both have the mean KL(p, p_ref). k3 is never negative and varies less.
 *
 * @see http://joschu.net/blog/kl-approx.html
 */
export const tokenKl = (logProb: number, refLogProb: number, estimator: KlEstimator): number => {
  const d = logProb - refLogProb;
  return estimator === 'k1' ? d : Math.exp(-d) - 1 + d;
};

/**
 * Ids up to and with the first that ends an answer; all of them where none does.
 *
 * @param stopIds what ends an answer. Empty: nothing does
 */
export function truncateAnswer(
  ids: readonly number[],
  stopIds: ReadonlySet<number>,
): readonly number[] {
  const end = ids.findIndex((id) => stopIds.has(id));
  return end === -1 ? ids : ids.slice(0, end + 1);
}

/**
 * What an answer is worth once a missing end has been charged for.
 *
 * @param penalty taken off a score whose answer has no end token; null: nothing is
 */
export const penalised = (score: number, hasEnd: boolean, penalty: number | null): number =>
  hasEnd || penalty === null ? score : score - penalty;

/** What {@link ppoRewards} reads of one answer. */
export interface AnswerTerms {
  /** `[N]`: of each token, under the policy that wrote it. */
  readonly logProbs: ArrayLike<number>;
  /** `[N]`: under the reference. */
  readonly refLogProbs: ArrayLike<number>;
  /** What the whole answer is worth. */
  readonly score: number;
}

/** How an answer is rewarded. */
export interface AnswerRewardOptions {
  readonly klCoef: number;
  readonly estimator: KlEstimator;
  /**
   * Places of an answer, W: tokens of the longest one of its group. One that is shorter has its
   * score in a place of its own, behind its last token, where the value of the whole answer stands;
   * one that fills them has it on its last token.
   */
  readonly width: number;
}

/** What {@link ppoRewards} gives. */
export interface AnswerRewards {
  /** float64 [N + 1], or [N] for an answer that fills the width. */
  readonly rewards: Float64Array;
  /** KL of the answer: the sum over its tokens, nats. */
  readonly kl: number;
}

/**
 * Rewards of the tokens of one answer, as TRL places them: -klCoef KL_t on each, and the score on
 * the place behind the last token.
 *
 * @see TRL 1.12, experimental/ppo/ppo_trainer.py, "4. compute rewards"
 */
export function ppoRewards(
  { logProbs, refLogProbs, score }: AnswerTerms,
  { klCoef, estimator, width }: AnswerRewardOptions,
): AnswerRewards {
  const count = logProbs.length;
  const rewards = new Float64Array(Math.min(count + 1, width));
  let kl = 0;
  for (let t = 0; t < count; t++) {
    const own = tokenKl(logProbs[t]!, refLogProbs[t]!, estimator);
    kl += own;
    rewards[t] = -klCoef * own;
  }
  rewards[rewards.length - 1]! += score;
  return { rewards, kl };
}
