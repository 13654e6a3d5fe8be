import { setImmediate as turn } from 'node:timers/promises';
import { globals } from 'webgpu';

const SHORTEST_NAP_MS = 0.1;
const LONGEST_NAP_MS = 10;

/**
 * In Node a pending Dawn promise is polled in a busy loop. Where the "GPU" is this very CPU that
 * takes a core from it, so our backend sleeps between the turns of the loop, each time a sixteenth
 * of the time waited so far. Peers do not; to compare kernels rather than ways of waiting, their
 * Dawn is taught the same.
 *
 * The bench has a Dawn of its own for the peers, so these methods are never ours.
 */
class Patience {
  readonly #cell = new Int32Array(new SharedArrayBuffer(4));
  #pending = 0;
  #since = 0;
  #napping = false;

  /** Makes every wait of the peers' Dawn patient. */
  install(): void {
    const { GPUBuffer, GPUQueue } = globals as unknown as DawnClasses;
    const patient = <M extends (...args: never[]) => Promise<unknown>>(method: M) => {
      const wait = (promise: Promise<unknown>) => this.#wait(promise);
      return function (this: unknown, ...args: Parameters<M>) {
        return wait(method.apply(this, args));
      };
    };
    GPUBuffer.prototype.mapAsync = patient(GPUBuffer.prototype.mapAsync);
    GPUQueue.prototype.onSubmittedWorkDone = patient(GPUQueue.prototype.onSubmittedWorkDone);
  }

  async #wait(promise: Promise<unknown>): Promise<unknown> {
    this.#since = performance.now();
    this.#pending++;
    if (!this.#napping) void this.#nap();
    try {
      return await promise;
    } finally {
      this.#pending--;
    }
  }

  /** One loop for all waits, also for one that begins in the turn in which the last one ended. */
  async #nap(): Promise<void> {
    this.#napping = true;
    await turn();
    while (this.#pending > 0) {
      const waited = performance.now() - this.#since;
      const ms = Math.min(Math.max(waited / 16, SHORTEST_NAP_MS), LONGEST_NAP_MS);
      Atomics.wait(this.#cell, 0, 0, ms);
      await turn();
    }
    this.#napping = false;
  }
}

interface DawnClasses {
  readonly GPUBuffer: { readonly prototype: { mapAsync(...args: never[]): Promise<unknown> } };
  readonly GPUQueue: {
    readonly prototype: { onSubmittedWorkDone(...args: never[]): Promise<unknown> };
  };
}

export const patience = new Patience();
