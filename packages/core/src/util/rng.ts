/**
 * Philox 4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * A counter-based generator: the n-th number is a function of (seed, n), so a mask drawn in WGSL
 * and one drawn here are the same bits, whatever the order in which lanes ask. The Dawn backend's
 * dropout kernel is this function word for word.
 */

const MULTIPLIER_A = 0xd2511f53;
const MULTIPLIER_B = 0xcd9e8d57;
const WEYL_A = 0x9e3779b9;
const WEYL_B = 0xbb67ae85;

function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const mid = aHigh * bLow + (low >>> 16);
  const mid2 = aLow * bHigh + (mid & 0xffff);
  return (aHigh * bHigh + Math.floor(mid / 0x10000) + Math.floor(mid2 / 0x10000)) >>> 0;
}

/** Four u32 for counter (c0..c3) and key (k0, k1). */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const highA = mulHigh(MULTIPLIER_A, c0);
    const lowA = Math.imul(MULTIPLIER_A, c0) >>> 0;
    const highB = mulHigh(MULTIPLIER_B, c2);
    const lowB = Math.imul(MULTIPLIER_B, c2) >>> 0;
    c0 = (highB ^ c1 ^ k0) >>> 0;
    c1 = lowB;
    c2 = (highA ^ c3 ^ k1) >>> 0;
    c3 = lowA;
    k0 = (k0 + WEYL_A) >>> 0;
    k1 = (k1 + WEYL_B) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The 24 high bits of a u32 as a number in [0, 1): exact in float32, the same on host and GPU. */
export const toUnit = (word: number): number => (word >>> 8) * 2 ** -24;

/** A sequential view of Philox for host use: initialisation, shuffles, sampling. */
export class Rng {
  #counter = 0;
  #buffer: number[] = [];

  /** @param stream separates independent uses of one seed (e.g. 'shuffle' and 'init'). */
  constructor(
    readonly seed: number,
    readonly stream: number = 0,
  ) {}

  /** A u32. */
  next(): number {
    if (this.#buffer.length === 0) {
      const n = this.#counter++;
      this.#buffer = philox(
        [n >>> 0, Math.floor(n / 2 ** 32) >>> 0, this.stream >>> 0, 0],
        [this.seed >>> 0, Math.floor(this.seed / 2 ** 32) >>> 0],
      );
    }
    return this.#buffer.shift()!;
  }

  /** Uniform in [0, 1), 24 bits. */
  uniform(): number {
    return toUnit(this.next());
  }

  /** Normal(0, 1) by Box-Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Uniform integer in [0, n): rejection, so that no value is favoured. */
  below(n: number): number {
    const limit = Math.floor(2 ** 32 / n) * n;
    let word = this.next();
    while (word >= limit) word = this.next();
    return word % n;
  }

  /** A permutation of 0..n-1 (Fisher-Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = order[i]!;
      order[i] = order[j]!;
      order[j] = held;
    }
    return order;
  }

  /** What a checkpoint needs to go on from here. */
  state(): RngState {
    return {
      seed: this.seed,
      stream: this.stream,
      counter: this.#counter,
      buffer: [...this.#buffer],
    };
  }

  static fromState(state: RngState): Rng {
    const rng = new Rng(state.seed, state.stream);
    rng.#counter = state.counter;
    rng.#buffer = [...state.buffer];
    return rng;
  }
}

/** Where an {@link Rng} stands: the same state, the same draws. */
export interface RngState {
  readonly seed: number;
  readonly stream: number;
  readonly counter: number;
  readonly buffer: readonly number[];
}
