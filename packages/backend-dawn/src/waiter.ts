import { setImmediate as turn } from 'node:timers/promises';

/** A wait may well be over by then, and a nap is never shorter than the system makes it. */
const AWAKE_MS = 0.5;
const LONGEST_NAP_MS = 10;

function sleep(): (ms: number) => void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  return (ms) => void Atomics.wait(cell, 0, 0, ms);
}

/**
 * Waits for Dawn. In Node a pending Dawn promise is polled in every turn of the event loop, without
 * a pause; where the "GPU" is this very CPU that takes a core from it. So on software adapters the
 * thread sleeps between the turns, each nap a sixteenth of the time waited so far: a wait is at
 * most that much longer than it had to be.
 */
export class Waiter {
  #pending = 0;
  #since = 0;
  #napping = false;

  /** @param nap stops this thread for so many milliseconds */
  constructor(
    private readonly software: boolean,
    private readonly nap: (ms: number) => void = sleep(),
  ) {}

  async wait<T>(promise: Promise<T>): Promise<T> {
    if (!this.software) return promise;
    this.#since = performance.now();
    this.#pending++;
    void this.#napUntilDone();
    try {
      return await promise;
    } finally {
      this.#pending--;
    }
  }

  /** One at a time: a wait that begins while it runs is served by it. */
  async #napUntilDone(): Promise<void> {
    if (this.#napping) return;
    this.#napping = true;
    await turn();
    while (this.#pending > 0) {
      const waited = performance.now() - this.#since;
      if (waited > AWAKE_MS) this.nap(Math.min(waited / 16, LONGEST_NAP_MS));
      await turn();
    }
    this.#napping = false;
  }
}
