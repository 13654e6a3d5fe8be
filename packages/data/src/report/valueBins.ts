/** Bins, at most. */
const MOST_BINS = 8192;
/** Bits of a mantissa that are stored. */
const MANTISSA = 52;

/** Values from `start` up to the next start, and how many there are. */
export interface Bin {
  readonly start: number;
  readonly count: number;
}

/**
 * Counts numbers exactly while there are few different ones, else by their leading bits: as many as
 * leave room. What it counts does not depend on the order; memory does not grow with the numbers.
 */
export class ValueBins {
  #counts = new Map<number, number>();
  /** Bits of a number that are dropped. */
  #dropped = 0;
  readonly #number = new Float64Array(1);
  readonly #bits = new BigUint64Array(this.#number.buffer);

  add(value: number): void {
    this.#count(this.startOf(value), 1);
    while (this.#counts.size > MOST_BINS) this.#coarsen();
  }

  /** Where the bin of a number begins: the number itself while all are counted exactly. */
  startOf(value: number): number {
    // Minus zero is zero.
    if (this.#dropped === 0 || value === 0) return value + 0;
    this.#number[0] = value;
    const low = (1n << BigInt(this.#dropped)) - 1n;
    const bits = this.#bits[0]!;
    // Negative ones go down, too: away from zero.
    const isCut = value < 0 && (bits & low) !== 0n;
    this.#bits[0] = (bits & ~low) + (isCut ? low + 1n : 0n);
    return this.#number[0];
  }

  /** In rising order. */
  sorted(): Bin[] {
    return [...this.#counts]
      .map(([start, count]) => ({ start, count }))
      .sort((a, b) => a.start - b.start);
  }

  #count(start: number, count: number): void {
    this.#counts.set(start, (this.#counts.get(start) ?? 0) + count);
  }

  #coarsen(): void {
    if (this.#dropped === MANTISSA) return;
    this.#dropped++;
    const before = this.#counts;
    this.#counts = new Map();
    for (const [start, count] of before) this.#count(this.startOf(start), count);
  }
}
