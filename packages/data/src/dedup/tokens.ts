import { roomFor } from './growing.js';
import type { Piece } from './textStore.js';

/** The pieces of a text that shingles are made of, as numbers. */
export class Tokens {
  length = 0;
  /** Two numbers for each: of characters both are the code point, of words two hashes. */
  first = new Int32Array(1024);
  second = new Int32Array(1024);

  clear(): void {
    this.length = 0;
  }

  push(first: number, second: number): void {
    if (this.length === this.first.length) {
      this.first = roomFor(this.first, this.length + 1);
      this.second = roomFor(this.second, this.length + 1);
    }
    this.first[this.length] = first;
    this.second[this.length++] = second;
  }

  /** Its characters: code points. */
  readCharacters({ bytes, start, end }: Piece): void {
    this.#makeRoom(end - start);
    const { first, second } = this;
    let length = 0;
    for (let i = start; i < end; ) {
      const lead = bytes[i++]!;
      let point = lead;
      if (lead >= 0xf0) point = lead & 0x07;
      else if (lead >= 0xe0) point = lead & 0x0f;
      else if (lead >= 0xc0) point = lead & 0x1f;
      if (lead >= 0xc0)
        for (; i < end && (bytes[i]! & 0xc0) === 0x80; i++)
          point = (point << 6) | (bytes[i]! & 0x3f);
      first[length] = point;
      second[length++] = point;
    }
    this.length = length;
  }

  /** Its words: what stands between white space. */
  readWords({ bytes, start, end }: Piece): void {
    this.#makeRoom((end - start + 1) >> 1);
    const { first, second } = this;
    let length = 0;
    for (let i = start; i < end; ) {
      while (i < end && bytes[i]! <= SPACE) i++;
      if (i === end) break;
      let a = 0x2545f491;
      let b = 0x4f6cdd1d;
      for (; i < end && bytes[i]! > SPACE; i++) {
        a = Math.imul(a ^ bytes[i]!, 0x01000193);
        b = Math.imul((b << 5) ^ (b >>> 27) ^ bytes[i]!, 0x9e3779b1 | 0);
      }
      first[length] = a ^ (a >>> 15);
      second[length++] = b ^ (b >>> 13);
    }
    this.length = length;
  }

  #makeRoom(length: number): void {
    if (length <= this.first.length) return;
    this.first = new Int32Array(2 * length);
    this.second = new Int32Array(2 * length);
  }
}

const SPACE = 0x20;

/** How many words and characters a text has. */
export function countTokens({ bytes, start, end }: Piece): { words: number; characters: number } {
  let words = 0;
  let characters = 0;
  let isInWord = false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if ((byte & 0xc0) !== 0x80) characters++;
    if (byte <= SPACE) isInWord = false;
    else if (!isInWord) {
      isInWord = true;
      words++;
    }
  }
  return { words, characters };
}
