/** Bytes of a growing text. */
class Output {
  bytes: Uint8Array;
  length = 0;

  constructor(
    size: number,
    private readonly most: number,
  ) {
    this.bytes = new Uint8Array(Math.min(size, most));
  }

  room(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    if (this.length + more > this.most) throw new Error(`more than ${this.most} bytes in LZ4`);
    const larger = new Uint8Array(
      Math.min(this.most, Math.max(this.length + more, 2 * this.bytes.length)),
    );
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }

  copy(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

const EARLY = 'an LZ4 block ends too early';

/** A block of LZ4. https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md */
function decompressBlock(input: Uint8Array, begin: number, end: number, output: Output): void {
  let i = begin;
  const lengthFrom = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15)
      for (let more = 255; more === 255; length += more) {
        if (i >= end) throw new Error(EARLY);
        more = input[i++]!;
      }
    return length;
  };
  while (i < end) {
    const token = input[i++]!;
    const literals = lengthFrom(token >> 4);
    if (i + literals > end) throw new Error(EARLY);
    output.copy(input.subarray(i, i + literals));
    i += literals;
    if (i === end) return; // The last sequence has no match.
    if (i + 2 > end) throw new Error(EARLY);
    const offset = input[i]! | (input[i + 1]! << 8);
    i += 2;
    if (offset === 0 || offset > output.length) throw new Error('an LZ4 match out of range');
    let match = lengthFrom(token & 15) + 4;
    output.room(match);
    for (let from = output.length - offset; match > 0; match--)
      output.bytes[output.length++] = output.bytes[from++]!;
  }
}

/** What LZ4 compressed without a frame. @throws unless it has exactly `size` bytes */
export function lz4Block(input: Uint8Array, size: number): Uint8Array {
  const output = new Output(size, size);
  decompressBlock(input, 0, input.length, output);
  return output.bytes.subarray(0, output.length);
}

/** Longest frame that is read. */
const MOST = 2 ** 31;

/** What LZ4 compressed, as frames. https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md */
export function lz4Frame(input: Uint8Array): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (view.getUint32(0, true) !== 0x184d2204) throw new Error('no LZ4 frame');
  const flags = input[4]!;
  const hasSize = (flags & 8) !== 0;
  let at = 6 + (hasSize ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
  const size = hasSize ? Number(view.getBigUint64(6, true)) : null;
  // A block of n bytes holds no more than 255 n.
  const output = new Output(Math.min(size ?? 4 * input.length, 255 * input.length), MOST);
  for (;;) {
    const header = view.getUint32(at, true);
    at += 4;
    if (header === 0) break;
    const end = at + (header & 0x7fffffff);
    if (end > input.length) throw new Error(EARLY);
    if (header >>> 31) output.copy(input.subarray(at, end));
    else decompressBlock(input, at, end, output);
    at = end + (flags & 16 ? 4 : 0);
  }
  if (size !== null && size !== output.length)
    throw new Error(`an LZ4 frame of ${output.length} bytes that says ${size}`);
  return output.bytes.subarray(0, output.length);
}
