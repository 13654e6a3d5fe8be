import type { VectorSet } from './vectorSet.js';

/** What choosing goes by. */
export interface Choice {
  /** Rows to choose at most. */
  readonly count: number;
  /** One for each row: the better ones come first. */
  readonly scores: Float64Array;
  /** Told of each row that is chosen. */
  readonly onChosen?: (done: number) => void;
}

/** Places in the order of their scores, the best first; equal ones keep their order. */
export function byScore(scores: Float64Array): Uint32Array {
  const order = Uint32Array.from(scores, (_, i) => i);
  return order.sort((a, b) => scores[b]! - scores[a]! || a - b);
}

/**
 * Gonzalez' greedy k-center: the row with the best score, then always the row that is farthest from
 * those that are chosen, the better score first among equally far ones. The largest distance of any
 * row to the nearest chosen one is at most twice the least that any choice of as many rows has
 * (Gonzalez 1985), in the Euclidean distance sqrt(2 (1 - cos)). It takes O(n k).
 */
export function kCenter(vectors: VectorSet, { count, scores, onChosen }: Choice): number[] {
  const n = vectors.count;
  const nearest = new Float32Array(n).fill(Number.POSITIVE_INFINITY);
  const chosen: number[] = [];
  while (chosen.length < Math.min(count, n)) {
    let best = -1;
    for (let i = 0; i < n; i++) {
      const far = nearest[i]!;
      if (far === TAKEN) continue;
      if (best < 0 || far > nearest[best]! || (far === nearest[best] && scores[i]! > scores[best]!))
        best = i;
    }
    chosen.push(best);
    vectors.lower(nearest, best);
    nearest[best] = TAKEN;
    onChosen?.(chosen.length);
  }
  return chosen;
}

/** Less than any distance. */
const TAKEN = Number.NEGATIVE_INFINITY;

/** What {@link reprFilter} finds. */
export interface Filtered {
  readonly chosen: number[];
  /** For each row the one that is too near, -1: none is, or it was not looked at. */
  readonly tooNear: Int32Array;
}

/**
 * DEITA's filter: rows in the order of their scores, each chosen where its cosine distance to every
 * chosen one is at least `minDistance`, until there are `count`.
 */
export function reprFilter(
  vectors: VectorSet,
  { count, scores, onChosen }: Choice,
  minDistance: number,
): Filtered {
  const chosen: number[] = [];
  const tooNear = new Int32Array(vectors.count).fill(-1);
  for (const place of byScore(scores)) {
    if (chosen.length >= count) break;
    const near = chosen.findIndex((other) => vectors.distance(other, place) < minDistance);
    if (near >= 0) tooNear[place] = chosen[near]!;
    else {
      chosen.push(place);
      onChosen?.(chosen.length);
    }
  }
  return { chosen, tooNear };
}
