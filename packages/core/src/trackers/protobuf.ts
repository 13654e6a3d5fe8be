import { concatBytes, utf8Bytes } from '../util/byteArrays.js';

/** Wire types of Protocol Buffers. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/**
 * One message of Protocol Buffers as bytes: just the kinds of fields that trackers write. What is
 * not given is not written, as proto3 leaves out defaults.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 */
export class ProtoMessage {
  readonly #parts: Uint8Array[] = [];

  /** int64, int32, bool, enum; not negative. */
  int(field: number, value: number): this {
    return this.#put(field, VARINT, varint(value));
  }

  double(field: number, value: number): this {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value, true);
    return this.#put(field, FIXED64, new Uint8Array(bytes.buffer));
  }

  float(field: number, value: number): this {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setFloat32(0, value, true);
    return this.#put(field, FIXED32, new Uint8Array(bytes.buffer));
  }

  text(field: number, value: string): this {
    return this.bytes(field, utf8Bytes(value));
  }

  bytes(field: number, value: Uint8Array): this {
    this.#put(field, BYTES, varint(value.length));
    this.#parts.push(value);
    return this;
  }

  message(field: number, value: ProtoMessage): this {
    return this.bytes(field, value.encode());
  }

  encode(): Uint8Array {
    return concatBytes(this.#parts);
  }

  #put(field: number, wireType: number, bytes: Uint8Array): this {
    this.#parts.push(varint(field * 8 + wireType), bytes);
    return this;
  }
}

/** Seven bits a byte, lowest first. Division, not shifts: numbers go up to 2^53. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
