/** 64 bits of a text, as two u32. */
export type Hash64 = readonly [high: number, low: number];

/**
 * A hash of a text: two lanes of multiply and xor over its UTF-16 units, each finished as
 * MurmurHash3 does. It tells texts apart; it is no protection against texts that are made to
 * collide.
 */
export function hash64(text: string): Hash64 {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x9e3779b1);
    b = Math.imul(b ^ unit, 0x5f356495);
  }
  const high = finish(a ^ Math.imul(b ^ (b >>> 15), 0x735a2d97));
  return [high, finish(b ^ Math.imul(a ^ (a >>> 15), 0xcaf649a9))];
}

function finish(x: number): number {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Numbers 0, 1, 2, ... for hashes in the order in which they are first met: 16 bytes each. */
export class HashNumbers {
  #high = new Uint32Array(1024);
  #low = new Uint32Array(1024);
  /** Number + 1 of the hash that lies there; 0: free. Twice the room, so that probes are short. */
  #slots = new Uint32Array(2048);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  at(number: number): Hash64 {
    return [this.#high[number]!, this.#low[number]!];
  }

  /** -1: it was never added. */
  find([high, low]: Hash64): number {
    return this.#slots[this.#slotOf(high, low)]! - 1;
  }

  add([high, low]: Hash64): number {
    let slot = this.#slotOf(high, low);
    const known = this.#slots[slot]!;
    if (known > 0) return known - 1;
    if (this.#length === this.#high.length) {
      this.#grow();
      slot = this.#slotOf(high, low);
    }
    this.#high[this.#length] = high;
    this.#low[this.#length] = low;
    this.#slots[slot] = ++this.#length;
    return this.#length - 1;
  }

  #slotOf(high: number, low: number): number {
    const mask = this.#slots.length - 1;
    let slot = low & mask;
    for (let entry = this.#slots[slot]!; entry > 0; entry = this.#slots[slot]!) {
      if (this.#low[entry - 1] === low && this.#high[entry - 1] === high) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const twice = (numbers: Uint32Array) => {
      const larger = new Uint32Array(2 * numbers.length);
      larger.set(numbers);
      return larger;
    };
    this.#high = twice(this.#high);
    this.#low = twice(this.#low);
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (let i = 0; i < this.#length; i++)
      this.#slots[this.#slotOf(this.#high[i]!, this.#low[i]!)] = i + 1;
  }
}
