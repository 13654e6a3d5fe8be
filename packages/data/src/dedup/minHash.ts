import { Rng } from '@attune/core/util';
import { mix } from './shingleSet.js';

/** How signatures are cut into bands: rows with one band alike are compared. */
export interface Banding {
  readonly bands: number;
  readonly rows: number;
}

/** Share of the pairs at similarity `s` that have a band alike: 1 - (1 - s^rows)^bands. */
export const recallAt = (similarity: number, { bands, rows }: Banding): number =>
  1 - (1 - similarity ** rows) ** bands;

/** Pairs at the threshold that may go unseen. */
const MISSED = 0.005;

/**
 * The banding with the fewest needless comparisons that finds at least 99.5 % of the pairs right at
 * the threshold, and more of those above it. With 128 permutations: 21 x 6 at 0.8.
 */
export function bandingFor(threshold: number, permutations: number): Banding {
  for (let rows = permutations; rows > 1; rows--) {
    const banding = { bands: Math.floor(permutations / rows), rows };
    if (recallAt(threshold, banding) >= 1 - MISSED) return banding;
  }
  return { bands: permutations, rows: 1 };
}

/**
 * MinHash (Broder 1997): of each of so many permutations the least hash of a set. Two sets agree in
 * a place with the probability of their Jaccard similarity. Permutations are h -> a h + b mod 2^32
 * with a odd, on hashes that are well mixed.
 */
export class MinHash {
  readonly #factors: Int32Array;
  readonly #terms: Int32Array;
  readonly #least: Int32Array;

  constructor(
    private readonly banding: Banding,
    seed: number,
  ) {
    const rng = new Rng(seed, STREAM);
    // Four at a time are computed; those beyond the bands are not looked at.
    const length = 4 * Math.ceil((banding.bands * banding.rows) / 4);
    this.#factors = Int32Array.from({ length }, () => rng.next() | 1);
    this.#terms = Int32Array.from({ length }, () => rng.next());
    this.#least = new Int32Array(length);
  }

  /** A key for each band: sets whose band is alike have the same. */
  keysOf(hashes: Int32Array, size: number, keys: Int32Array): void {
    const least = this.#least;
    for (let k = 0; k < least.length; k += 4) this.#fourLeast(hashes, size, k);
    const { bands, rows } = this.banding;
    for (let band = 0, k = 0; band < bands; band++) {
      let key = band;
      for (let row = 0; row < rows; row++) key = mix(key ^ least[k++]!) + row;
      keys[band] = mix(key);
    }
  }

  /** Four minima stay in registers while the hashes go by. */
  #fourLeast(hashes: Int32Array, size: number, k: number): void {
    const factors = this.#factors;
    const terms = this.#terms;
    const a0 = factors[k]!;
    const a1 = factors[k + 1]!;
    const a2 = factors[k + 2]!;
    const a3 = factors[k + 3]!;
    const b0 = terms[k]!;
    const b1 = terms[k + 1]!;
    const b2 = terms[k + 2]!;
    const b3 = terms[k + 3]!;
    let m0 = 0x7fffffff;
    let m1 = 0x7fffffff;
    let m2 = 0x7fffffff;
    let m3 = 0x7fffffff;
    for (let i = 0; i < size; i++) {
      const h = hashes[i]!;
      const v0 = (Math.imul(a0, h) + b0) | 0;
      const v1 = (Math.imul(a1, h) + b1) | 0;
      const v2 = (Math.imul(a2, h) + b2) | 0;
      const v3 = (Math.imul(a3, h) + b3) | 0;
      if (v0 < m0) m0 = v0;
      if (v1 < m1) m1 = v1;
      if (v2 < m2) m2 = v2;
      if (v3 < m3) m3 = v3;
    }
    const least = this.#least;
    least[k] = m0;
    least[k + 1] = m1;
    least[k + 2] = m2;
    least[k + 3] = m3;
  }
}

const STREAM = 0x6d68;
