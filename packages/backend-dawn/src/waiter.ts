import { setImmediate as turn } from 'node:timers/promises';

const SHORTEST_NAP_MS = 0.1;
const LONGEST_NAP_MS = 10;

/**
 * Waits for Dawn. In Node a pending Dawn promise is polled in every turn of the event loop, without
 * a pause; where the "GPU" is this very CPU that takes a core from it. So on software adapters the
 * thread sleeps between the turns, each nap a sixteenth of the time waited so far: a wait is at most
 * that much longer than it had to be.
 */
export class Waiter {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4));
  #pending = 0;
  #since = 0;

  constructor(private readonly software: boolean) {}

  async wait<T>(promise: Promise<T>): Promise<T> {
    if (!this.software) return promise;
    this.#since = performance.now();
    if (this.#pending++ === 0) void this.#napUntilDone();
    try {
      return await promise;
    } finally {
      this.#pending--;
    }
  }

  async #napUntilDone(): Promise<void> {
    await turn();
    while (this.#pending > 0) {
      const waited = performance.now() - this.#since;
      const nap = Math.min(Math.max(waited / 16, SHORTEST_NAP_MS), LONGEST_NAP_MS);
      Atomics.wait(this.#cell, 0, 0, nap);
      await turn();
    }
  }
}
