/** How long chosen and rejected answers are, over all pairs. null where there are none. */
export type PairLengths = {
  readonly pairs: number;
  /** Share of the pairs whose chosen answer is the longer one. */
  readonly chosenLonger: number | null;
  /** Geometric mean of length of chosen / length of rejected, in characters. */
  readonly meanLengthRatio: number | null;
  readonly meanMargin: number | null;
};

/** A completion with its score. */
export interface Scored {
  readonly text: string;
  readonly score: number;
}

/** Two completions of one prompt. */
export interface Pair {
  readonly chosen: Scored;
  readonly rejected: Scored;
}

/**
 * How long chosen answers are beside rejected ones, over all pairs so far: the sum of
 * log(length of chosen / length of rejected), in characters.
 */
export class LengthBalance {
  #sum = 0;
  #pairs = 0;
  #longer = 0;
  #margins = 0;

  get sum(): number {
    return this.#sum;
  }

  add(pair: Pair): void {
    const ratio = logRatio(pair);
    this.#sum += ratio;
    this.#pairs++;
    if (ratio > 0) this.#longer++;
    this.#margins += pair.chosen.score - pair.rejected.score;
  }

  get report(): PairLengths {
    const n = this.#pairs;
    return {
      pairs: n,
      chosenLonger: n === 0 ? null : this.#longer / n,
      meanLengthRatio: n === 0 ? null : Math.exp(this.#sum / n),
      meanMargin: n === 0 ? null : this.#margins / n,
    };
  }
}

/** One character more each: an empty text has a logarithm, too. */
export const logRatio = ({ chosen, rejected }: Pair): number =>
  Math.log((chosen.text.length + 1) / (rejected.text.length + 1));

/** What a pair must be. */
export interface PairRules {
  readonly margin: number;
  /** Longer text / shorter text at most; null: any. */
  readonly maxLengthRatio: number | null;
  /** Prefer pairs that bring lengths into balance. */
  readonly balanceLengths: boolean;
}

/**
 * The pair with the largest difference of scores. With `balanceLengths` a pair that moves the sum
 * of log length ratios towards 0 comes before one that does not. Equals: the first.
 *
 * @returns null where no two scores lie `margin` apart; "length" where all that do differ too much
 *   in length
 */
export function choosePair(
  scored: readonly Scored[],
  { margin, maxLengthRatio, balanceLengths }: PairRules,
  balance: LengthBalance,
): Pair | null | 'length' {
  const pairs = scored.flatMap((chosen) =>
    scored.flatMap((rejected) =>
      chosen.score > rejected.score && chosen.score - rejected.score >= margin
        ? [{ chosen, rejected }]
        : [],
    ),
  );
  if (pairs.length === 0) return null;
  const fitting = pairs.filter(
    (pair) => maxLengthRatio === null || Math.abs(logRatio(pair)) <= Math.log(maxLengthRatio),
  );
  if (fitting.length === 0) return 'length';
  const balancing = fitting.filter((pair) => balance.sum * logRatio(pair) <= 0);
  const candidates = balanceLengths && balancing.length > 0 ? balancing : fitting;
  const marginOf = ({ chosen, rejected }: Pair) => chosen.score - rejected.score;
  return candidates.reduce((best, pair) => (marginOf(pair) > marginOf(best) ? pair : best));
}
