/** What a clock counts for: milliseconds of work. */
export interface Worker {
  workMs: number;
}

/**
 * Counts time for the one whose turn it is. A stage that asks for a row gives the turn to the stage
 * before it, and has it back with the row: the times of all add up to no more than has passed.
 */
export class StageClock {
  readonly #startedMs = performance.now();
  #sinceMs = this.#startedMs;
  #worker: Worker | null = null;

  /** Gives the turn to another worker. Returns the one that had it; null: none of them. */
  turn(worker: Worker | null): Worker | null {
    const nowMs = performance.now();
    const before = this.#worker;
    if (before !== null) before.workMs += nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    this.#worker = worker;
    return before;
  }

  /** Since the clock was made. */
  get totalMs(): number {
    return performance.now() - this.#startedMs;
  }
}
