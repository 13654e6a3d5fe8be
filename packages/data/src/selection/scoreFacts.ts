/** Bars of a histogram. */
const BARS = 40;

/** Scores of a report. Numbers are null where no row has a score. */
export type ScoreSummary = {
  /** Rows with a score. */
  readonly scored: number;
  readonly mean: number | null;
  readonly least: number | null;
  readonly largest: number | null;
  /** Bars of equal width; what is beyond is in the first and the last one. */
  readonly histogram: {
    readonly from: number;
    readonly to: number;
    readonly counts: readonly number[];
  };
};

/** Counts scores for a report: mean, least and largest, and a histogram. */
export class ScoreFacts {
  #count = 0;
  #sum = 0;
  #least = Number.POSITIVE_INFINITY;
  #largest = Number.NEGATIVE_INFINITY;
  readonly #counts = new Array<number>(BARS).fill(0);

  /** @param from, to what the bars span; what is beyond is in the first and the last one */
  constructor(
    private readonly from: number,
    private readonly to: number,
  ) {}

  add(score: number): void {
    this.#count++;
    this.#sum += score;
    this.#least = Math.min(this.#least, score);
    this.#largest = Math.max(this.#largest, score);
    const at = Math.floor(((score - this.from) * BARS) / (this.to - this.from));
    this.#counts[Math.min(BARS - 1, Math.max(0, at))]!++;
  }

  summary(): ScoreSummary {
    const isEmpty = this.#count === 0;
    return {
      scored: this.#count,
      mean: isEmpty ? null : this.#sum / this.#count,
      least: isEmpty ? null : this.#least,
      largest: isEmpty ? null : this.#largest,
      histogram: { from: this.from, to: this.to, counts: [...this.#counts] },
    };
  }
}
