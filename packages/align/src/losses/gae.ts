/** How far rewards reach back. */
export interface GaeOptions {
  /** Discount of what comes one token later, g. TRL's default 1. */
  readonly gamma: number;
  /** How much of later surprises counts, l: 0 trusts the values, 1 the rewards. TRL: 0.95. */
  readonly lam: number;
}

/** What {@link gae} gives: float64 [T] each. */
export interface GaeAdvantages {
  readonly advantages: Float64Array;
  /** advantages + values, before anything is whitened: what the values should have been. */
  readonly returns: Float64Array;
}

/**
 * Generalised advantage estimation of one answer, on the host in float64:
 *
 *     d_t = r_t + g V_{t+1} - V_t,   A_t = d_t + g l A_{t+1},   R_t = A_t + V_t
 *
 * Behind the last place V and A are 0.
 *
 * @param rewards [T]: one for each token, and one behind them where a score lies there
 * @param values [T]: what was expected before each of them; more are not read
 * @see arXiv:1506.02438, equations 11 and 16
 */
export function gae(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  { gamma, lam }: GaeOptions,
): GaeAdvantages {
  const advantages = new Float64Array(rewards.length);
  let [later, nextValue] = [0, 0];
  for (let t = rewards.length - 1; t >= 0; t--) {
    const surprise = rewards[t]! + gamma * nextValue - values[t]!;
    nextValue = values[t]!;
    later = surprise + gamma * lam * later;
    advantages[t] = later;
  }
  return { advantages, returns: advantages.map((advantage, t) => advantage + values[t]!) };
}
