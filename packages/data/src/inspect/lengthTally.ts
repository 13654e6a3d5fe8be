/** Lengths of texts. */
export type LengthSummary = {
  readonly least: number;
  readonly mean: number;
  /** Half of the texts are as long, or shorter. */
  readonly median: number;
  /** 95 of 100 texts are as long, or shorter. */
  readonly p95: number;
  readonly largest: number;
};

/** Keeps lengths: 4 bytes each. */
export class LengthTally {
  #lengths = new Uint32Array(1024);
  #count = 0;

  add(length: number): void {
    if (this.#count === this.#lengths.length) {
      const larger = new Uint32Array(2 * this.#count);
      larger.set(this.#lengths);
      this.#lengths = larger;
    }
    this.#lengths[this.#count++] = length;
  }

  /** null: there were none. Percentiles are nearest ranks. */
  summary(): LengthSummary | null {
    if (this.#count === 0) return null;
    const sorted = this.#lengths.slice(0, this.#count).sort();
    const rank = (share: number) => sorted[Math.ceil(share * sorted.length) - 1]!;
    let sum = 0;
    for (const length of sorted) sum += length;
    return {
      least: sorted[0]!,
      mean: sum / sorted.length,
      median: rank(0.5),
      p95: rank(0.95),
      largest: sorted.at(-1)!,
    };
  }
}
