/**
 * Numbers by pairs of numbers: (a, b) -> value, all from 0 to 2^32 - 2. A hash table with open
 * addressing.
 */
export class PairTable {
  #keys: Uint32Array; // a, b, a, b, ...
  #values: Uint32Array; // value + 1; 0 is free
  #mask: number;
  #size = 0;

  constructor(expected = 16) {
    let slots = 32;
    while (slots < expected * 2) slots *= 2;
    this.#keys = new Uint32Array(slots * 2);
    this.#values = new Uint32Array(slots);
    this.#mask = slots - 1;
  }

  /** The value of a pair; -1 when there is none. */
  get(a: number, b: number): number {
    const keys = this.#keys;
    const values = this.#values;
    for (let slot = hash(a, b) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const value = values[slot]!;
      if (value === 0) return -1;
      if (keys[slot * 2] === a && keys[slot * 2 + 1] === b) return value - 1;
    }
  }

  set(a: number, b: number, value: number): void {
    if (this.#size * 2 > this.#mask) this.#grow();
    let slot = hash(a, b) & this.#mask;
    while (this.#values[slot] !== 0) {
      if (this.#keys[slot * 2] === a && this.#keys[slot * 2 + 1] === b) break;
      slot = (slot + 1) & this.#mask;
    }
    if (this.#values[slot] === 0) this.#size++;
    this.#keys[slot * 2] = a;
    this.#keys[slot * 2 + 1] = b;
    this.#values[slot] = value + 1;
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values];
    this.#keys = new Uint32Array(keys.length * 2);
    this.#values = new Uint32Array(values.length * 2);
    this.#mask = this.#values.length - 1;
    this.#size = 0;
    for (let slot = 0; slot < values.length; slot++)
      if (values[slot] !== 0) this.set(keys[slot * 2]!, keys[slot * 2 + 1]!, values[slot]! - 1);
  }
}

function hash(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
