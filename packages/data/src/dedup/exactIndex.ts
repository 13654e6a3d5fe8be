import { hash } from 'node:crypto';
import { IntList, roomFor } from './growing.js';

/** Texts by 128 bits of their SHA-256: no two of a billion texts share them by chance. */
export class ExactIndex {
  /** 1 + the place in `#keys` and `#rows`; 0: free. */
  #slots = new Int32Array(1024);
  #keys = new Int32Array(4 * 512);
  readonly #rows = new IntList();

  /** The row that was added with this text first: `row` itself where there was none. */
  add(text: string, row: number): number {
    const digest = hash('sha256', text, 'buffer');
    const a = digest.readInt32LE(0);
    const b = digest.readInt32LE(4);
    const c = digest.readInt32LE(8);
    const d = digest.readInt32LE(12);
    const mask = this.#slots.length - 1;
    let slot = a & mask;
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const place = this.#slots[slot]! - 1;
      const at = 4 * place;
      const keys = this.#keys;
      if (keys[at] === a && keys[at + 1] === b && keys[at + 2] === c && keys[at + 3] === d)
        return this.#rows.values[place]!;
    }
    const place = this.#rows.length;
    this.#rows.push(row);
    this.#keys = roomFor(this.#keys, 4 * place + 4);
    this.#keys.set([a, b, c, d], 4 * place);
    this.#slots[slot] = place + 1;
    if (2 * this.#rows.length > this.#slots.length) this.#grow();
    return row;
  }

  #grow(): void {
    const slots = new Int32Array(2 * this.#slots.length);
    const mask = slots.length - 1;
    for (let place = 0; place < this.#rows.length; place++) {
      let slot = this.#keys[4 * place]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = place + 1;
    }
    this.#slots = slots;
  }
}
