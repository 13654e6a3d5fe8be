/**
 * A cyclic redundancy check of 32 bits, bit by bit: records of trackers are small.
 *
 * @param polynomial reflected
 */
function crc(data: Iterable<number>, polynomial: number): number {
  let rest = 0xffffffff;
  for (const byte of data) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (polynomial & -(rest & 1));
  }
  return ~rest >>> 0;
}

/** CRC-32, as zlib's. */
export const crc32 = (data: Iterable<number>): number => crc(data, 0xedb88320);

/** CRC-32C (Castagnoli). */
export const crc32c = (data: Iterable<number>): number => crc(data, 0x82f63b78);
