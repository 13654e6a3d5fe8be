import { Rng } from '../util/rng.js';

/** The streams of one seed: numbers drawn on the host, and masks and noise drawn on the device. */
export class Randomness {
  #seed: number;
  #host: Rng;
  /** Offset into the device's stream: how many ops have drawn from it. */
  draws = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#host = new Rng(seed);
  }

  get seed(): number {
    return this.#seed;
  }

  get host(): Rng {
    return this.#host;
  }

  /** Starts the streams of `seed` from their beginning: what follows depends on nothing before. */
  reseed(seed: number): void {
    this.#seed = seed;
    this.#host = new Rng(seed);
    this.draws = 0;
  }
}
