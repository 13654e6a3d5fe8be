import type { Rng } from '@attune/core/util';
import { BUCKETS, type SparseVector } from './textVectors.js';

/** Passes over the sample, at most; it ends when no vector moves. */
const PASSES = 20;

/** Where a vector belongs. */
export interface Nearest {
  readonly center: number;
  readonly cosine: number;
}

/**
 * Centers of clusters, `[BUCKETS, k]`: the values of one bucket lie side by side, so that a sparse
 * vector is compared with all centers in one pass over its buckets.
 */
export class Centers {
  readonly values: Float32Array;
  readonly #sums: Float64Array;

  constructor(readonly k: number) {
    this.values = new Float32Array(BUCKETS * k);
    this.#sums = new Float64Array(k);
  }

  /** The center of highest cosine; the first of equals. */
  nearest({ buckets, values }: SparseVector): Nearest {
    const { k, values: all } = this;
    const sums = this.#sums.fill(0);
    for (let i = 0; i < buckets.length; i++) {
      const at = buckets[i]! * k;
      const value = values[i]!;
      for (let c = 0; c < k; c++) sums[c]! += value * all[at + c]!;
    }
    let center = 0;
    for (let c = 1; c < k; c++) if (sums[c]! > sums[center]!) center = c;
    return { center, cosine: sums[center] ?? 0 };
  }

  add(center: number, { buckets, values }: SparseVector): void {
    for (let i = 0; i < buckets.length; i++)
      this.values[buckets[i]! * this.k + center]! += values[i]!;
  }

  /** Scales all to length 1; those of length 0 become the ones of `before`. */
  normalise(before: Centers): void {
    const norms = new Float64Array(this.k);
    this.values.forEach((value, i) => {
      norms[i % this.k]! += value * value;
    });
    for (let i = 0; i < this.values.length; i++) {
      const norm = norms[i % this.k]!;
      this.values[i] = norm === 0 ? before.values[i]! : this.values[i]! / Math.sqrt(norm);
    }
  }
}

/**
 * Spherical k-means: vectors of length 1 go to the center of highest cosine, centers are the means
 * of their vectors scaled to length 1, until nothing moves. Begins as k-means++ does, with 1 minus
 * the cosine for a distance. The same vectors and seed give the same centers; there are fewer than
 * `k` where fewer vectors differ.
 *
 * @see Dhillon and Modha 2001; Arthur and Vassilvitskii 2007
 */
export function sphericalKMeans(vectors: readonly SparseVector[], k: number, rng: Rng): Centers {
  let centers = begin(vectors, Math.min(k, vectors.length), rng);
  const homes = new Int32Array(vectors.length).fill(-1);
  for (let pass = 0; pass < PASSES; pass++) {
    let moved = 0;
    const next = new Centers(centers.k);
    for (const [i, vector] of vectors.entries()) {
      const { center } = centers.nearest(vector);
      if (center !== homes[i]) moved++;
      homes[i] = center;
      next.add(center, vector);
    }
    if (moved === 0) break;
    next.normalise(centers);
    centers = next;
  }
  return centers;
}

function begin(vectors: readonly SparseVector[], k: number, rng: Rng): Centers {
  const chosen: number[] = [];
  const distances = new Float64Array(vectors.length).fill(1);
  const dense = new Float32Array(BUCKETS);
  while (chosen.length < k) {
    const next = draw(distances, rng);
    if (next < 0) break;
    chosen.push(next);
    const { buckets, values } = vectors[next]!;
    buckets.forEach((bucket, i) => {
      dense[bucket] = values[i]!;
    });
    vectors.forEach((vector, i) => {
      distances[i] = Math.min(distances[i]!, Math.max(0, 1 - dot(vector, dense)));
    });
    for (const bucket of buckets) dense[bucket] = 0;
  }
  const centers = new Centers(chosen.length);
  for (const [c, i] of chosen.entries()) centers.add(c, vectors[i]!);
  return centers;
}

function dot({ buckets, values }: SparseVector, dense: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < buckets.length; i++) sum += values[i]! * dense[buckets[i]!]!;
  return sum;
}

/** An index with a chance in proportion to its weight; -1 where all are 0 (to rounding). */
function draw(weights: Float64Array, rng: Rng): number {
  const total = weights.reduce((sum, weight) => sum + (weight > 1e-6 ? weight : 0), 0);
  if (total === 0) return -1;
  let left = rng.uniform() * total;
  let last = -1;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! <= 1e-6) continue;
    last = i;
    left -= weights[i]!;
    if (left < 0) break;
  }
  return last;
}
