// XXH64 in halves of 32 bits: BigInt would take a hundred times as long.
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

/** A number of 64 bits: its upper and its lower half. */
type Halves = readonly [high: number, low: number];

const P1: Halves = [0x9e3779b1, 0x85ebca87];
const P2: Halves = [0xc2b2ae3d, 0x27d4eb4f];
const P3: Halves = [0x165667b1, 0x9e3779f9];
const P4: Halves = [0x85ebca77, 0xc2b2ae63];
const P5: Halves = [0x27d4eb2f, 0x165667c5];

const STRIPE = 32;

/** The hash of bytes that come in pieces, seed 0: what zstd frames end with. */
export class Xxh64 {
  /** Four sums, each as its upper and its lower half. */
  readonly #sums = new Uint32Array(8);
  readonly #held = new Uint8Array(STRIPE);
  #heldBytes = 0;
  #length = 0;
  // The number that is being worked on.
  #high = 0;
  #low = 0;

  constructor() {
    const starts = [add(P1, P2), P2, [0, 0] as const, add([0, 0], negated(P1))];
    for (const [i, [high, low]] of starts.entries()) {
      this.#sums[2 * i] = high;
      this.#sums[2 * i + 1] = low;
    }
  }

  update(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let at = 0;
    if (this.#heldBytes > 0) {
      at = Math.min(STRIPE - this.#heldBytes, bytes.length);
      this.#held.set(bytes.subarray(0, at), this.#heldBytes);
      this.#heldBytes += at;
      if (this.#heldBytes < STRIPE) return;
      this.#stripes(this.#held);
    }
    const whole = at + Math.floor((bytes.length - at) / STRIPE) * STRIPE;
    this.#stripes(bytes.subarray(at, whole));
    this.#held.set(bytes.subarray(whole));
    this.#heldBytes = bytes.length - whole;
  }

  #stripes(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const sums = this.#sums;
    for (let at = 0; at < bytes.length; at += 8) {
      const i = (at >> 2) & 6;
      this.#high = sums[i]!;
      this.#low = sums[i + 1]!;
      this.#round(view.getUint32(at + 4, true), view.getUint32(at, true));
      sums[i] = this.#high;
      sums[i + 1] = this.#low;
    }
  }

  /** number = rotl(number + input P2, 31) P1 */
  #round(high: number, low: number): void {
    const [sumHigh, sumLow] = [this.#high, this.#low];
    this.#high = high;
    this.#low = low;
    this.#times(P2);
    this.#plus(sumHigh, sumLow);
    this.#rotate(31);
    this.#times(P1);
  }

  /** The lower half of the hash. */
  get low(): number {
    const sums = this.#sums;
    if (this.#length >= STRIPE) {
      let [high, low] = [0, 0];
      for (const [i, by] of [1, 7, 12, 18].entries()) {
        this.#high = sums[2 * i]!;
        this.#low = sums[2 * i + 1]!;
        this.#rotate(by);
        this.#plus(high, low);
        [high, low] = [this.#high, this.#low];
      }
      for (let i = 0; i < 4; i++) {
        this.#high = 0;
        this.#low = 0;
        this.#round(sums[2 * i]!, sums[2 * i + 1]!);
        this.#high = (this.#high ^ high) >>> 0;
        this.#low = (this.#low ^ low) >>> 0;
        this.#times(P1);
        this.#plus(...P4);
        [high, low] = [this.#high, this.#low];
      }
    } else [this.#high, this.#low] = P5;
    this.#plus(Math.floor(this.#length / 2 ** 32), this.#length >>> 0);
    this.#rest();
    this.#shifted(33);
    this.#times(P2);
    this.#shifted(29);
    this.#times(P3);
    this.#shifted(32);
    return this.#low;
  }

  #rest(): void {
    const view = new DataView(this.#held.buffer, 0, this.#heldBytes);
    let at = 0;
    for (; at + 8 <= this.#heldBytes; at += 8) {
      const [high, low] = [this.#high, this.#low];
      this.#high = 0;
      this.#low = 0;
      this.#round(view.getUint32(at + 4, true), view.getUint32(at, true));
      this.#xor(high, low);
      this.#rotate(27);
      this.#times(P1);
      this.#plus(...P4);
    }
    if (at + 4 <= this.#heldBytes) {
      this.#xorTimes(view.getUint32(at, true), P1);
      this.#rotate(23);
      this.#times(P2);
      this.#plus(...P3);
      at += 4;
    }
    for (; at < this.#heldBytes; at++) {
      this.#xorTimes(view.getUint8(at), P5);
      this.#rotate(11);
      this.#times(P1);
    }
  }

  /** number ^= value factor */
  #xorTimes(value: number, factor: Halves): void {
    const [high, low] = [this.#high, this.#low];
    this.#high = 0;
    this.#low = value;
    this.#times(factor);
    this.#xor(high, low);
  }

  #xor(high: number, low: number): void {
    this.#high = (this.#high ^ high) >>> 0;
    this.#low = (this.#low ^ low) >>> 0;
  }

  #plus(high: number, low: number): void {
    const sum = this.#low + low;
    this.#high = (this.#high + high + (sum > 0xffffffff ? 1 : 0)) >>> 0;
    this.#low = sum >>> 0;
  }

  #times([high, low]: Halves): void {
    const a0 = this.#low & 0xffff;
    const a1 = this.#low >>> 16;
    const b0 = low & 0xffff;
    const b1 = low >>> 16;
    const first = a1 * b0 + ((a0 * b0) >>> 16);
    const second = a0 * b1 + (first & 0xffff);
    const carry = a1 * b1 + (first >>> 16) + (second >>> 16);
    this.#high = (carry + Math.imul(this.#high, low) + Math.imul(this.#low, high)) >>> 0;
    this.#low = Math.imul(this.#low, low) >>> 0;
  }

  /** @param by 1 to 31 */
  #rotate(by: number): void {
    const [high, low] = [this.#high, this.#low];
    this.#high = ((high << by) | (low >>> (32 - by))) >>> 0;
    this.#low = ((low << by) | (high >>> (32 - by))) >>> 0;
  }

  /** number ^= number >>> by @param by 29, 32 or 33 */
  #shifted(by: number): void {
    if (by >= 32) this.#xor(0, this.#high >>> (by - 32));
    else this.#xor(this.#high >>> by, ((this.#low >>> by) | (this.#high << (32 - by))) >>> 0);
  }
}

function add([aHigh, aLow]: Halves, [bHigh, bLow]: Halves): Halves {
  const low = aLow + bLow;
  return [(aHigh + bHigh + (low > 0xffffffff ? 1 : 0)) >>> 0, low >>> 0];
}

const negated = ([high, low]: Halves): Halves => add([~high >>> 0, ~low >>> 0], [0, 1]);
