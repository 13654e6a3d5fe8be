import { roomFor } from './growing.js';
import type { Tokens } from './tokens.js';

/**
 * The set of shingles (runs of `size` tokens) of a text, by 64 bits of a hash. A text of fewer
 * tokens is one shingle. The same memory serves one text after the other.
 */
export class ShingleSet {
  /** Shingles that are different. */
  size = 0;
  /** The first 32 bits of each. */
  hashes = new Int32Array(1024);
  /** The other 32 bits. */
  seconds = new Int32Array(1024);
  /** Where a shingle is looked for: taken where `#stamps` has the number of this text. */
  #slots = new Int32Array(2048);
  #stamps = new Int32Array(2048);
  #mask = 0;
  #stamp = 0;
  /** By which count a shingle was found last. */
  #found = new Int32Array(1024);
  #count = 0;
  /** Both hashes of each run of tokens of the text at hand. */
  #windowHashes = new Int32Array(1024);
  #windowSeconds = new Int32Array(1024);

  constructor(private readonly tokensEach: number) {}

  /** Takes the place of the set that was here. */
  fill(tokens: Tokens): void {
    const windows = this.#hashWindows(tokens);
    let capacity = 64;
    while (capacity < 2 * windows) capacity *= 2;
    this.#mask = capacity - 1;
    if (capacity > this.#slots.length) {
      this.#slots = new Int32Array(capacity);
      this.#stamps = new Int32Array(capacity);
    }
    this.hashes = roomFor(this.hashes, windows);
    this.seconds = roomFor(this.seconds, windows);
    this.#found = roomFor(this.#found, windows);
    this.#stamp++;
    let size = 0;
    for (let i = 0; i < windows; i++) {
      const a = this.#windowHashes[i]!;
      const b = this.#windowSeconds[i]!;
      let slot = a & this.#mask;
      for (;;) {
        if (this.#stamps[slot] !== this.#stamp) {
          this.#stamps[slot] = this.#stamp;
          this.#slots[slot] = size;
          this.hashes[size] = a;
          this.seconds[size] = b;
          this.#found[size++] = 0;
          break;
        }
        const place = this.#slots[slot]!;
        if (this.hashes[place] === a && this.seconds[place] === b) break;
        slot = (slot + 1) & this.#mask;
      }
    }
    this.size = size;
  }

  /** How many different shingles of another text are in this set. */
  countShared(tokens: Tokens): number {
    const windows = this.#hashWindows(tokens);
    const count = ++this.#count;
    let shared = 0;
    for (let i = 0; i < windows; i++) {
      const a = this.#windowHashes[i]!;
      const b = this.#windowSeconds[i]!;
      for (let slot = a & this.#mask; this.#stamps[slot] === this.#stamp; ) {
        const place = this.#slots[slot]!;
        if (this.hashes[place] === a && this.seconds[place] === b) {
          if (this.#found[place] !== count) shared++;
          this.#found[place] = count;
          break;
        }
        slot = (slot + 1) & this.#mask;
      }
    }
    return shared;
  }

  /** Hashes each run of tokens. @returns how many there are */
  #hashWindows({ first, second, length }: Tokens): number {
    const each = Math.min(this.tokensEach, length);
    const windows = length === 0 ? 0 : length - each + 1;
    this.#windowHashes = roomFor(this.#windowHashes, windows);
    this.#windowSeconds = roomFor(this.#windowSeconds, windows);
    const hashes = this.#windowHashes;
    const seconds = this.#windowSeconds;
    for (let i = 0; i < windows; i++) {
      let a = SEED;
      let b = SEED;
      for (let j = i; j < i + each; j++) {
        a = Math.imul(a ^ first[j]!, PRIME);
        a = (a << 13) | (a >>> 19);
        b = Math.imul(b ^ second[j]!, OTHER_PRIME);
        b = (b << 15) | (b >>> 17);
      }
      hashes[i] = mix(a);
      seconds[i] = b;
    }
    return windows;
  }
}

const SEED = 0x3c6ef372;
const PRIME = 0x85ebca77 | 0;
const OTHER_PRIME = 0xc2b2ae3d | 0;

/** The last step of MurmurHash3: every bit of the result depends on all. */
export function mix(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
