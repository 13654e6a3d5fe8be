/**
 * Waits for Dawn. In Node an awaited Dawn promise polls in a busy loop; where the "GPU" is this very
 * CPU that takes a core from it. So on software adapters the thread first sleeps for most of the time
 * that such waits took lately.
 */
export class Waiter {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4));
  #expectedMs = 0;

  constructor(private readonly software: boolean) {}

  async wait<T>(promise: Promise<T>): Promise<T> {
    if (!this.software) return promise;
    const start = performance.now();
    const nap = Math.min(this.#expectedMs * 0.7, 500);
    if (nap > 2) Atomics.wait(this.#cell, 0, 0, nap);
    const woke = performance.now();
    const result = await promise;
    const end = performance.now();
    // Ready at once: the nap was too long, so expect much less. Else follow what was seen.
    const overslept = nap > 2 && end - woke < 1;
    this.#expectedMs = overslept ? nap / 2 : this.#expectedMs * 0.5 + (end - start) * 0.5;
    return result;
  }
}
