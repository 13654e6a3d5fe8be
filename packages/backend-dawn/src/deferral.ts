interface Deferred {
  /** What to wait for, or what begins it when it is its turn; null: nothing but those before. */
  readonly ready: Promise<unknown> | (() => Promise<unknown>) | null;
  readonly run: () => void;
}

/**
 * Commands that wait for a shader to be compiled, and those behind them: they run in the order in
 * which they were recorded. Meanwhile recording goes on, so that the shaders of a whole step
 * compile side by side.
 */
export class Deferral {
  #queue: Deferred[] = [];
  #draining: Promise<void> | null = null;

  /**
   * @param wait how to wait for the device's promises
   * @param onError told of a command that threw; those behind it are dropped
   */
  constructor(
    private readonly wait: (promise: Promise<unknown>) => Promise<unknown>,
    private readonly onError: (error: Error) => void,
  ) {}

  /** While this is true, every command must be added here to keep its place. */
  get isActive(): boolean {
    return this.#queue.length > 0;
  }

  add(run: () => void, ready: Deferred['ready'] = null): void {
    this.#queue.push({ ready, run });
    this.#draining ??= this.#drain();
  }

  /** Resolves when everything that was added has run, or was dropped. */
  async settle(): Promise<void> {
    while (this.#draining) await this.#draining;
  }

  /** Forgets what has not run. */
  clear(): void {
    this.#queue = [];
  }

  async #drain(): Promise<void> {
    await null; // never over before `add` has noted that it runs
    while (this.#queue.length > 0) {
      const [{ ready, run }] = this.#queue as [Deferred];
      if (ready) await this.wait(typeof ready === 'function' ? ready() : ready);
      if (this.#queue.length === 0) break; // cleared while waiting
      try {
        run();
      } catch (error) {
        this.clear();
        this.onError(error as Error);
      }
      this.#queue.shift();
    }
    this.#draining = null;
  }
}
