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
    const result = await promise;
    const took = performance.now() - start;
    // Falls at once (never oversleep twice), rises slowly.
    this.#expectedMs = took < this.#expectedMs ? took : this.#expectedMs * 0.7 + took * 0.3;
    return result;
  }
}
