import type { Scratch } from '../contract/mergeMethod.js';

/** Arrays that one tensor after the other works in. */
export class ScratchMemory {
  readonly #arrays: Float32Array[] = [];
  #numTaken = 0;

  /** The next tensor: all arrays are free. */
  reset(): void {
    this.#numTaken = 0;
  }

  /** Arrays that no one else has until the next tensor. */
  take(count: number): Scratch {
    const first = this.#numTaken;
    this.#numTaken += count;
    return (k, length) => {
      const array = this.#arrays[first + k];
      if (array && array.length >= length)
        return array.length === length ? array : array.subarray(0, length);
      this.#arrays[first + k] = new Float32Array(length);
      return this.#arrays[first + k]!;
    };
  }
}
