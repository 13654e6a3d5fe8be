import type { HostBatch, HostTensor } from '@attune/core';
import { gae } from '../losses/gae.js';
import { maskedWhiten } from '../losses/masked.js';
import { type CompletionRow, completionBatch, floats } from '../rollout/completionBatch.js';
import { type KlEstimator, ppoRewards } from '../rollout/ppoRewards.js';

/** An answer as it was before the updates that are made of it. */
export interface OldAnswer {
  readonly row: CompletionRow;
  /** [N]: of each token, under the policy and under the reference. */
  readonly logProbs: ArrayLike<number>;
  readonly refLogProbs: ArrayLike<number>;
  /** [N + 1]: expected before each token, and behind the last. */
  readonly values: ArrayLike<number>;
  readonly score: number;
}

/** What an answer is learned from. */
export interface RatedAnswer extends OldAnswer {
  /** [N], whitened over the group. */
  readonly advantages: Float64Array;
  /** [N + 1], or [N] where the answer fills the width of its group. */
  readonly returns: Float64Array;
  /** Sum over its tokens, nats. */
  readonly kl: number;
}

/** How answers are rated. */
export interface RatingOptions {
  readonly klCoef: number;
  readonly klEstimator: KlEstimator;
  readonly gamma: number;
  readonly lam: number;
  readonly whitenRewards: boolean;
}

/** Rewards, advantages and returns of a group of answers, as TRL computes them; on the host. */
export function rateAnswers(
  answers: readonly OldAnswer[],
  { klCoef, klEstimator, whitenRewards, ...discounts }: RatingOptions,
): RatedAnswer[] {
  const width = Math.max(...answers.map(({ logProbs }) => logProbs.length));
  const rewarded = answers.map((answer) =>
    ppoRewards(answer, { klCoef, estimator: klEstimator, width }),
  );
  const plain = rewarded.map(({ rewards }) => rewards);
  const rewards = whitenRewards ? whiten(plain, false) : plain;
  const estimated = answers.map(({ values }, i) => gae(rewards[i]!, values, discounts));
  const ofTokens = whiten(
    estimated.map(({ advantages }, i) => advantages.slice(0, answers[i]!.logProbs.length)),
    true,
  );
  return answers.map((answer, i) => ({
    ...answer,
    advantages: ofTokens[i]!,
    returns: estimated[i]!.returns,
    kl: rewarded[i]!.kl,
  }));
}

/** All numbers of all rows together. */
function whiten(rows: readonly Float64Array[], shiftMean: boolean): Float64Array[] {
  const all = rows.flatMap((row) => [...row]);
  const whitened = maskedWhiten(all, new Uint8Array(all.length).fill(1), { shiftMean });
  let end = 0;
  return rows.map((row) => {
    end += row.length;
    return whitened.slice(end - row.length, end);
  });
}

/** Tokens, and places with a value, over which the losses of an update are means. */
export interface MiniBatchSize {
  readonly tokens: number;
  readonly places: number;
}

export const sizeOf = (answers: readonly RatedAnswer[]): MiniBatchSize => ({
  tokens: answers.reduce((sum, { advantages }) => sum + advantages.length, 0),
  places: answers.reduce((sum, { returns }) => sum + returns.length, 0),
});

/**
 * A micro-batch: what `completionBatch` gives; `old`, `advantages` [B, T] where a token is
 * predicted; `oldValues`, `returns`, `places` [B, T] where a value is; `perToken`, `perPlace` [1],
 * one over the tokens and the places of the whole mini-batch.
 *
 * @param of the mini-batch
 * @param maxLength up to which padded lengths are rounded up
 */
export function answerBatch(
  answers: readonly RatedAnswer[],
  of: MiniBatchSize,
  maxLength: number,
): HostBatch {
  const batch = completionBatch(
    answers.map(({ row }) => row),
    maxLength,
  );
  const shape = batch.mask!.shape as [number, number];
  const placed = (valuesOf: (answer: RatedAnswer) => ArrayLike<number>): HostTensor => {
    const data = new Float32Array(shape[0] * shape[1]);
    answers.forEach((answer, b) => {
      data.set(Array.from(valuesOf(answer)), b * shape[1] + firstPlace(answer.row));
    });
    return floats(data, shape);
  };
  const one = (value: number) => floats(Float32Array.of(value), [1]);
  return {
    ...batch,
    old: placed(({ logProbs }) => logProbs),
    advantages: placed(({ advantages }) => advantages),
    oldValues: placed(({ values, returns }) => Array.from(values).slice(0, returns.length)),
    returns: placed(({ returns }) => returns),
    places: placed(({ returns }) => returns.map(() => 1)),
    perToken: one(1 / of.tokens),
    perPlace: one(1 / of.places),
  };
}

/** Where the first token of an answer is predicted: at the last one of the prompt. */
export const firstPlace = ({ promptIds }: CompletionRow): number => promptIds.length - 1;
