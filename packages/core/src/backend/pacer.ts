import type { Backend } from './backend.js';

/**
 * Lets the host record ahead of the device, but not without end: at most `depth` updates are in
 * flight, so that memory cannot pile up. A lost device shows here, at the latest `depth` updates
 * on.
 */
export class Pacer {
  readonly #fences: Promise<void>[] = [];

  /**
   * @param isTight wait wherever shaders are being compiled: until then nothing is submitted, and
   *   memory that was freed cannot go back to the device
   */
  constructor(
    private readonly backend: Backend,
    private readonly depth = 2,
    private readonly isTight = false,
  ) {}

  /** Between two micro-batches of an update. */
  async pause(): Promise<void> {
    if (this.isTight && this.backend.isCompiling) await this.backend.sync();
  }

  /** Marks the end of an update; waits for the one `depth` before it. */
  async admit(): Promise<void> {
    const fence = this.backend.sync();
    // Awaited later: until then a rejection must not count as unhandled.
    fence.catch(() => undefined);
    this.#fences.push(fence);
    if (this.#fences.length > this.depth) await this.#fences.shift();
    if (this.isTight && this.backend.isCompiling) await this.drain();
  }

  /** Waits for everything. */
  async drain(): Promise<void> {
    while (this.#fences.length > 0) await this.#fences.shift();
  }
}
