/** What LZ4 compressed, as frames. https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md */
export function lz4Frame(input: Uint8Array): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (view.getUint32(0, true) !== 0x184d2204) throw new Error('no LZ4 frame');
  const flags = input[4]!;
  const hasSize = (flags & 8) !== 0;
  let at = 6 + (hasSize ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
  let output = new Uint8Array(hasSize ? Number(view.getBigUint64(6, true)) : input.length * 4);
  let length = 0;
  const room = (more: number): void => {
    if (length + more <= output.length) return;
    if (length + more > 2 ** 31) throw new Error('more than 2 GiB in an LZ4 frame');
    const larger = new Uint8Array(Math.max(length + more, 2 * output.length));
    larger.set(output.subarray(0, length));
    output = larger;
  };
  const copy = (bytes: Uint8Array): void => {
    room(bytes.length);
    output.set(bytes, length);
    length += bytes.length;
  };
  for (;;) {
    const header = view.getUint32(at, true);
    at += 4;
    if (header === 0) return output.subarray(0, length);
    const end = at + (header & 0x7fffffff);
    if (end > input.length) throw new Error('an LZ4 block ends too early');
    if (header >>> 31) copy(input.subarray(at, end));
    else
      for (let i = at; i < end; ) {
        const token = input[i++]!;
        let literals = token >> 4;
        if (literals === 15)
          for (let more = 255; more === 255; literals += more) more = input[i++] ?? 0;
        if (i + literals > end) throw new Error('an LZ4 block ends too early');
        copy(input.subarray(i, i + literals));
        i += literals;
        if (i >= end) break;
        const offset = input[i++]! | ((input[i++] ?? 0) << 8);
        if (offset === 0 || offset > length) throw new Error('an LZ4 match out of range');
        let match = (token & 15) + 4;
        if (match === 19) for (let more = 255; more === 255; match += more) more = input[i++] ?? 0;
        room(match);
        for (let from = length - offset; match > 0; match--) output[length++] = output[from++]!;
      }
    at = end + (flags & 16 ? 4 : 0);
  }
}
