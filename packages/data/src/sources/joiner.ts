import { Buffer } from 'node:buffer';

/**
 * Joins what is left of the bytes before with those that come. What is long comes in many pieces:
 * each is copied once or twice, not with all before it.
 */
export class Joiner {
  /** Where what is long grows. */
  #room: Buffer = Buffer.alloc(0);

  /** @param rest the end of what was given last, or what was not given by this */
  join(rest: Buffer, chunk: Buffer): Buffer {
    if (rest.length === 0) return chunk;
    if (rest.length < chunk.length) return Buffer.concat([rest, chunk]);
    const length = rest.length + chunk.length;
    const begin = rest.byteOffset - this.#room.byteOffset;
    if (rest.buffer === this.#room.buffer && begin + length <= this.#room.length) {
      chunk.copy(this.#room, begin + rest.length);
      return this.#room.subarray(begin, begin + length);
    }
    this.#room = Buffer.allocUnsafeSlow(2 * length);
    rest.copy(this.#room);
    chunk.copy(this.#room, rest.length);
    return this.#room.subarray(0, length);
  }
}
