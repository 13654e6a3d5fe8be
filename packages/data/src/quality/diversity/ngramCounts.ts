/** Counters of n-grams; a hash that two share makes the estimate too low, by 1 % at a million. */
const COUNTERS = 2 ** 22;

/**
 * Counts n-grams of words in a fixed space, for how varied a set of texts is. Up to
 * {@link COUNTERS} / 4 different ones the numbers are exact to about a percent.
 */
export class NgramCounts {
  readonly #counts = new Uint32Array(COUNTERS);
  #total = 0;

  constructor(private readonly n: number) {}

  /** Adds the n-grams of a text, given as hashes of its words. */
  add(words: Uint32Array): void {
    for (let i = 0; i + this.n <= words.length; i++) {
      let hash = 0x9e3779b9;
      for (let j = 0; j < this.n; j++) hash = mix(hash, words[i + j]!);
      this.#counts[hash & (COUNTERS - 1)]!++;
      this.#total++;
    }
  }

  /**
   * How varied they are: the number of different n-grams by that of all (distinct-n, Li et al.
   * 2016), and Shannon's entropy in bits. null: there are none.
   */
  summary(): { readonly distinct: number; readonly entropy: number } | null {
    if (this.#total === 0) return null;
    let hit = 0;
    let entropy = 0;
    for (const count of this.#counts) {
      if (count === 0) continue;
      hit++;
      const share = count / this.#total;
      entropy -= share * Math.log2(share);
    }
    // Those that fell on one another are estimated as balls in bins are.
    const load = hit / COUNTERS;
    const different = load > 0.99 ? hit : -COUNTERS * Math.log(1 - load);
    return { distinct: Math.min(1, different / this.#total), entropy };
  }
}

/** Murmur's mixing of 32 bits. */
function mix(hash: number, value: number): number {
  let x = Math.imul(hash ^ value, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
