/** What a run has done since it began or went on, and in how much time. */
export class Throughput {
  readonly #startedMs = performance.now();
  #samples = 0;
  #tokens = 0;
  #steps = 0;
  #dataWaitMs = 0;

  /** A group of micro-batches has come into use. @param rows of it */
  addRows(rows: number): void {
    this.#samples += rows;
  }

  /** An update was made. @param tokens that went through the model */
  addUpdate(tokens: number): void {
    this.#steps++;
    this.#tokens += tokens;
  }

  /** The loop waited for rows. Before the first update everybody waits. */
  addWait(ms: number): void {
    if (this.#samples > 0) this.#dataWaitMs += ms;
  }

  summary(): Readonly<Record<string, number>> {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    return {
      trainRuntime: seconds,
      trainSamplesPerSecond: this.#samples / seconds,
      trainStepsPerSecond: this.#steps / seconds,
      trainTokensPerSecond: this.#tokens / seconds,
      trainDataWaitMs: this.#dataWaitMs,
    };
  }
}
