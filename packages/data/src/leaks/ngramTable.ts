import { IntList, roomFor } from '../dedup/growing.js';

/** Numbers for n-grams, by 64 bits of their hash: 0, 1, 2, ... in the order they are added. */
export class NgramTable {
  /** 1 + the number; 0: free. */
  #slots = new Int32Array(4096);
  #keys = new Int32Array(4096);
  #count = 0;

  get length(): number {
    return this.#count;
  }

  /** -1: it is not there. */
  find(first: number, second: number): number {
    return this.#slots[this.#slotOf(first, second)]! - 1;
  }

  add(first: number, second: number): number {
    const slot = this.#slotOf(first, second);
    if (this.#slots[slot] !== 0) return this.#slots[slot]! - 1;
    const number = this.#count++;
    this.#keys = roomFor(this.#keys, 2 * number + 2);
    this.#keys[2 * number] = first;
    this.#keys[2 * number + 1] = second;
    this.#slots[slot] = number + 1;
    if (2 * this.#count > this.#slots.length) this.#grow();
    return number;
  }

  #slotOf(first: number, second: number): number {
    const slots = this.#slots;
    const keys = this.#keys;
    const mask = slots.length - 1;
    let slot = first & mask;
    for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const at = 2 * (slots[slot]! - 1);
      if (keys[at] === first && keys[at + 1] === second) break;
    }
    return slot;
  }

  #grow(): void {
    const slots = new Int32Array(2 * this.#slots.length);
    const mask = slots.length - 1;
    for (let number = 0; number < this.#count; number++) {
      let slot = this.#keys[2 * number]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = number + 1;
    }
    this.#slots = slots;
  }
}

/** Lists of integers by a number, in 8 bytes an integer. */
export class Postings {
  readonly #heads = new IntList();
  readonly #values = new IntList();
  readonly #next = new IntList();
  readonly #counts = new IntList();

  add(number: number, value: number): void {
    while (this.#heads.length <= number) {
      this.#heads.push(0);
      this.#counts.push(0);
    }
    this.#values.push(value);
    this.#next.push(this.#heads.values[number]!);
    this.#heads.values[number] = this.#values.length;
    this.#counts.values[number]!++;
  }

  countOf(number: number): number {
    return this.#counts.values[number]!;
  }

  /** The last value first. */
  each(number: number, onValue: (value: number) => void): void {
    for (let at = this.#heads.values[number]!; at !== 0; at = this.#next.values[at - 1]!)
      onValue(this.#values.values[at - 1]!);
  }
}
