/** Work that waits for its turn. */
interface Waiting<Job, Result> {
  readonly job: Job;
  readonly signal: AbortSignal | null;
  resolve(result: Result): void;
  reject(reason: unknown): void;
}

/** How {@link RequestBatches} puts jobs together. */
export interface RequestBatchesParts<Job, Result> {
  /** Rows of a batch at most; a job that has more goes alone. */
  readonly batchSize: number;
  rowsOf(job: Job): number;
  /** Jobs with the same key can go together. */
  keyOf(job: Job): string;
  /** @param signal aborts when nobody waits for the batch any more */
  run(jobs: readonly Job[], signal: AbortSignal): Promise<readonly Result[]>;
}

/**
 * Jobs that wait at the same time go together, one batch after the other: the oldest job, and those
 * behind it that fit with it.
 */
export class RequestBatches<Job, Result> {
  readonly #waiting: Waiting<Job, Result>[] = [];
  #isRunning = false;

  constructor(private readonly parts: RequestBatchesParts<Job, Result>) {}

  /** @throws what `run` throws; the reason of the signal */
  add(job: Job, signal: AbortSignal | null): Promise<Result> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const stop = () => reject(signal!.reason);
      signal?.addEventListener('abort', stop, { once: true });
      const settle =
        <T>(how: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener('abort', stop);
          how(value);
        };
      this.#waiting.push({ job, signal, resolve: settle(resolve), reject: settle(reject) });
      if (this.#isRunning) return;
      this.#isRunning = true;
      // Those that come within this turn of the event loop are there by then.
      setImmediate(() => void this.#runAll());
    });
  }

  async #runAll(): Promise<void> {
    for (let batch = this.#next(); batch.length > 0; batch = this.#next()) {
      const controller = new AbortController();
      const stop = () => {
        if (batch.every(({ signal }) => signal?.aborted)) controller.abort();
      };
      for (const { signal } of batch) signal?.addEventListener('abort', stop, { once: true });
      try {
        const results = await this.parts.run(
          batch.map(({ job }) => job),
          controller.signal,
        );
        batch.forEach(({ resolve }, i) => {
          resolve(results[i]!);
        });
      } catch (error) {
        for (const { reject } of batch) reject(error);
      } finally {
        for (const { signal } of batch) signal?.removeEventListener('abort', stop);
      }
    }
    this.#isRunning = false;
  }

  #next(): Waiting<Job, Result>[] {
    const { batchSize, rowsOf, keyOf } = this.parts;
    const batch: Waiting<Job, Result>[] = [];
    let rows = 0;
    const left: Waiting<Job, Result>[] = [];
    for (const waiting of this.#waiting.splice(0)) {
      if (waiting.signal?.aborted) continue;
      const first = batch[0];
      const fits =
        !first ||
        (keyOf(first.job) === keyOf(waiting.job) && rows + rowsOf(waiting.job) <= batchSize);
      if (fits) {
        batch.push(waiting);
        rows += rowsOf(waiting.job);
      } else left.push(waiting);
    }
    this.#waiting.unshift(...left);
    return batch;
  }
}
