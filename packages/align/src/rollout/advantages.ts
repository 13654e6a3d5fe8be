/** The reward of each completion; NaN where no reward function had an opinion. */
export type Rewards = Float64Array;

/** What rewards are divided by before they are advantages. */
export type ScaleRewards = 'group' | 'batch' | 'none';

/** How the rewards of several functions become one advantage. */
export type MultiObjectiveAggregation = 'sum_then_normalize' | 'normalize_then_sum';

/** Added to a standard deviation before it divides, as in TRL. */
const EPSILON = 1e-4;

/** What {@link grpoAdvantages} and {@link rlooAdvantages} give, one number for each completion. */
export interface Advantages {
  /** 0 where no reward function had an opinion. */
  readonly advantages: Float64Array;
  /** Weighted sum of the functions' rewards; NaN where none had an opinion. */
  readonly rewards: Rewards;
  /** Share of what `frac_reward_zero_std` counts whose rewards are all equal. */
  readonly fracZeroStd: number;
}

/** Rewards of a rollout: completions of one prompt lie side by side. */
export interface RewardMatrix {
  /** By function, then by completion [F][N]; NaN: no opinion. */
  readonly perFunction: readonly ArrayLike<number>[];
  /** [F] */
  readonly weights: readonly number[];
  /** Completions of each prompt: G. N is a multiple of it. */
  readonly numGenerations: number;
}

/**
 * sum over functions of weight * reward, without those that have no opinion; NaN where none has
 * one.
 */
export function weightedRewards({ perFunction, weights }: Omit<RewardMatrix, 'numGenerations'>) {
  const size = perFunction[0]?.length ?? 0;
  return Float64Array.from({ length: size }, (_, n) => {
    const known = perFunction.map((rewards) => rewards[n]!);
    if (known.every(Number.isNaN)) return Number.NaN;
    return known.reduce((sum, r, f) => (Number.isNaN(r) ? sum : sum + weights[f]! * r), 0);
  });
}

/**
 * Group-relative advantages (arXiv:2402.03300, eq. 3): reward minus the mean of the group, divided
 * by a standard deviation + 1e-4. Deviations are unbiased (n - 1). Completions without a reward
 * take part in no mean, and their advantage is 0.
 *
 * - scaleRewards 'group': the deviation within the group; 'batch': that of all completions
 *   (arXiv:2508.08221); 'none': nothing divides (arXiv:2503.20783).
 * - aggregation 'normalize_then_sum': each function is normalised within the group, the weighted
 *   sums over the whole batch (GDPO, arXiv:2601.05242).
 */
export function grpoAdvantages(
  matrix: RewardMatrix,
  {
    scaleRewards = 'group',
    aggregation = 'sum_then_normalize',
  }: {
    readonly scaleRewards?: ScaleRewards;
    readonly aggregation?: MultiObjectiveAggregation;
  } = {},
): Advantages {
  const { perFunction, weights, numGenerations: size } = matrix;
  const rewards = weightedRewards(matrix);
  if (aggregation === 'normalize_then_sum') {
    const normalized = perFunction.map((own) =>
      byGroup(own, size, (group) => {
        const [mean, deviation] = [meanOf(group), deviationOf(group)];
        return group.map((r) => (r - mean) / (deviation + EPSILON));
      }),
    );
    // A function that says nothing of a completion adds nothing; where none says anything, NaN.
    const combined = weightedRewards({ perFunction: normalized, weights });
    const sums = Array.from(rewards, (raw, n) => (Number.isNaN(raw) ? raw : orZero(combined[n]!)));
    const [mean, deviation] = [meanOf(sums), deviationOf(sums)];
    return {
      advantages: Float64Array.from(sums, (sum) => orZero((sum - mean) / (deviation + EPSILON))),
      rewards,
      fracZeroStd: isZero(deviation) ? 1 : 0,
    };
  }
  const ofAll = deviationOf(Array.from(rewards));
  const deviations: number[] = [];
  const advantages = byGroup(rewards, size, (group) => {
    const mean = meanOf(group);
    const deviation = scaleRewards === 'batch' ? ofAll : spreadOf(group);
    deviations.push(deviation);
    const divisor = scaleRewards === 'none' ? 1 : deviation + EPSILON;
    return group.map((reward) => orZero((reward - mean) / divisor));
  });
  return { advantages, rewards, fracZeroStd: shareOfZeros(deviations) };
}

/**
 * Leave-one-out advantages (arXiv:2402.14740): reward minus the mean reward of the other
 * completions of the prompt. The reward has the penalty in it: reward - beta * KL, with the KL of a
 * completion as the sum over its tokens of log p - log p_ref (k1). Completions without a reward
 * take part in no mean; the advantage of those, and of one that is alone, is 0.
 */
export function rlooAdvantages(
  matrix: RewardMatrix,
  options: {
    /** beta * KL of each completion [N]. Default 0. */
    readonly penalties?: ArrayLike<number>;
    /** Bounds of a reward before the penalty. Default none. */
    readonly rewardClipRange?: readonly [number, number] | null;
    /** Makes mean 0 and deviation 1 of the advantages of a batch. Default false. */
    readonly normalizeAdvantages?: boolean;
  } = {},
): Advantages {
  const { penalties, rewardClipRange = null, normalizeAdvantages = false } = options;
  const rewards = weightedRewards(matrix);
  const [low, high] = rewardClipRange ?? [-Infinity, Infinity];
  const penalised = rewards.map(
    (reward, n) => Math.min(Math.max(reward, low), high) - (penalties?.[n] ?? 0),
  );
  const deviations: number[] = [];
  let advantages = byGroup(penalised, matrix.numGenerations, (group) => {
    deviations.push(spreadOf(group));
    const known = group.filter((r) => !Number.isNaN(r));
    const sum = known.reduce((total, r) => total + r, 0);
    return group.map((r) => r - (sum - r) / (known.length - 1));
  });
  if (normalizeAdvantages) {
    const all = Array.from(advantages);
    const [mean, deviation] = [meanOf(all), deviationOf(all)];
    advantages = advantages.map((a) => (a - mean) / (deviation + EPSILON));
  }
  return {
    advantages: advantages.map(orZero),
    rewards,
    fracZeroStd: shareOfZeros(deviations),
  };
}

function byGroup(
  values: ArrayLike<number>,
  size: number,
  fn: (group: number[]) => number[],
): Float64Array {
  const all = Array.from(values);
  const out: number[] = [];
  for (let start = 0; start < all.length; start += size)
    out.push(...fn(all.slice(start, start + size)));
  return Float64Array.from(out);
}

/** Mean of those that are numbers; NaN without any. */
export function meanOf(values: readonly number[]): number {
  const known = values.filter((x) => !Number.isNaN(x));
  return known.reduce((sum, x) => sum + x, 0) / known.length;
}

/** Unbiased deviation of those that are numbers; NaN for fewer than two. */
export function deviationOf(values: readonly number[]): number {
  const known = values.filter((x) => !Number.isNaN(x));
  if (known.length < 2) return Number.NaN;
  const mean = meanOf(known);
  return Math.sqrt(known.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (known.length - 1));
}

/** The deviation of a group; one completion alone has none, and an evaluation may draw one. */
const spreadOf = (group: readonly number[]): number =>
  group.length === 1 ? 0 : deviationOf(group);

const orZero = (x: number): number => (Number.isNaN(x) ? 0 : x);

/** As `torch.isclose(x, 0)`: NaN is not. */
const isZero = (deviation: number): boolean => Math.abs(deviation) <= 1e-8;

const shareOfZeros = (deviations: readonly number[]): number =>
  deviations.filter(isZero).length / deviations.length;
