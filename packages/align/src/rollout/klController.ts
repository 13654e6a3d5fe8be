import type { Objective } from '@attune/core';

/** What an adaptive coefficient follows. */
export interface KlTarget {
  /** KL of an answer that is aimed at, in nats: a sum over its tokens. 0.11.4's default 6. */
  readonly targetKl: number;
  /** Answers over which the coefficient may change by a fifth. 0.11.4's default 10000. */
  readonly horizon: number;
}

/** The coefficient of the KL penalty, which a checkpoint holds as `state`. */
export interface KlController {
  /** Where it lies: `state.values` of an objective. */
  readonly state: NonNullable<NonNullable<Objective['state']>['values']>;
  readonly coefficient: number;
  /**
   * A group of answers was used.
   *
   * @param kl mean over its answers of their KL, nats
   * @param answers how many there were
   */
  update(kl: number, answers: number): void;
}

/**
 * A coefficient that stays, or one that follows a target:
 *
 *     e = clip(KL / target - 1, -0.2, 0.2),   b <- b (1 + e n / horizon)
 *
 * @param initial b at the start. Default of TRL 1.12 0.05; of 0.11.4, which adapts it, 0.2
 * @param target null: it stays
 * @see arXiv:1909.08593, section 2.2; TRL 0.11.4, AdaptiveKLController
 */
export function klController(initial: number, target: KlTarget | null): KlController {
  const state = { klCoef: initial };
  return {
    state,
    get coefficient() {
      return state.klCoef;
    },
    update(kl, answers) {
      if (!target) return;
      const error = Math.min(Math.max(kl / target.targetKl - 1, -0.2), 0.2);
      state.klCoef *= 1 + (error * answers) / target.horizon;
    },
  };
}
