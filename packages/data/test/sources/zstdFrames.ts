import { Buffer } from 'node:buffer';

/** 40 rows `{ id, text }` as `zstd -19` compresses them, with a checksum. */
export const ZSTD_ROWS = Buffer.from(
  'KLUv/QRo/QUAgoodF5A7ByvuK7OjxeXu8NPSkp0yQEndKcAB8PD9ubv2xs7W13/ffdXVExo+P2fX3JjZ8rpvu66ycsLC1+fqWhsrW13vXbdtFsL3nGuNsbV+uwWilByxiDkkMQOVjrJkciQzLIqTBBKZJIwmpZCah2hSBiqFNBwJClCoEWDuNfbv4DVaAxKYQeAZBP8MAn8B6QevqWVDL1EycHwwogYdtDbIP2GjBV7m0BiM9LJkZfoLwaBQDISpOKLISQWQ31WhTA0R',
  'base64',
);

/** A frame whose blocks are not compressed. */
export function zstdFrame(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58])];
  for (let at = 0; at === 0 || at < bytes.length; at += 2 ** 17) {
    const block = bytes.subarray(at, at + 2 ** 17);
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (at + 2 ** 17 >= bytes.length ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

/** A frame that readers skip. */
export function skippedFrame(bytes: Buffer): Buffer {
  const header = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
  header.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}
