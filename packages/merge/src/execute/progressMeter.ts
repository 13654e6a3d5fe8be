import type { MergeProgress } from '../options.js';

/** A few times a second. */
const EVERY_MS = 250;

/** Counts what was done, and tells it now and then. */
export class ProgressMeter {
  #bytesDone = 0;
  #bytesKept = 0;
  #tensorsDone = 0;
  #told = Number.NEGATIVE_INFINITY;
  readonly #began = performance.now();

  constructor(
    private readonly bytesTotal: number,
    private readonly tensorsTotal: number,
    private readonly listener: ((progress: MergeProgress) => void) | undefined,
  ) {}

  addBytes(bytes: number): void {
    this.#bytesDone += bytes;
    this.#tell();
  }

  /** @param kept bytes of it that an earlier merge wrote: they say nothing of the speed */
  addTensor(kept: number): void {
    this.#tensorsDone++;
    this.#bytesKept += kept;
    this.#tell();
  }

  /** Tells that all is done. */
  finish(): void {
    this.#bytesDone = this.bytesTotal;
    this.#tensorsDone = this.tensorsTotal;
    this.#told = Number.NEGATIVE_INFINITY;
    this.#tell();
  }

  #tell(): void {
    const now = performance.now();
    if (!this.listener || now - this.#told < EVERY_MS) return;
    this.#told = now;
    this.listener({
      bytesDone: this.#bytesDone,
      bytesTotal: this.bytesTotal,
      tensorsDone: this.#tensorsDone,
      tensorsTotal: this.tensorsTotal,
      secondsLeft: this.#secondsLeft(now),
    });
  }

  #secondsLeft(now: number): number | null {
    const left = this.bytesTotal - this.#bytesDone;
    if (left === 0) return 0;
    const made = this.#bytesDone - this.#bytesKept;
    return made > 0 ? (((now - this.#began) / 1000) * left) / made : null;
  }
}
