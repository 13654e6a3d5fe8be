import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { decompress } from 'fzstd';
import type { ParquetParsers, SchemaElement } from 'hyparquet';
import { DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { compressors } from 'hyparquet-compressors';
import { lz4Block } from './lz4Frame.js';
import {
  dateText,
  dayTimeText,
  decimalNumber,
  plainText,
  timeText,
  Unreadable,
} from './plainValue.js';

/** What a page was compressed from, in a buffer that has nothing else. @throws */
export function decompressed(codec: string, bytes: Uint8Array, size: number): Uint8Array {
  const page = decoders[codec]?.(bytes, size);
  if (page === undefined) throw new Error(`compressed by ${codec}, which is not read`);
  if (page.length !== size) throw new Error(`a page of ${page.length} bytes that says ${size}`);
  // What reads behind the end of a page must find nothing.
  return page.byteLength === page.buffer.byteLength
    ? new Uint8Array(page.buffer)
    : new Uint8Array(page);
}

const decoders: Readonly<Record<string, (bytes: Uint8Array, size: number) => Uint8Array>> = {
  UNCOMPRESSED: (bytes) => bytes,
  GZIP: (bytes, size) => gunzipSync(bytes, { maxOutputLength: Math.max(size, 1) }),
  BROTLI: (bytes, size) => brotliDecompressSync(bytes, { maxOutputLength: Math.max(size, 1) }),
  SNAPPY: (bytes, size) => compressors.SNAPPY!(bytes, size),
  ZSTD: (bytes, size) => decompress(bytes, new Uint8Array(size)),
  LZ4: (bytes, size) => compressors.LZ4!(bytes, size),
  LZ4_RAW: lz4Block,
};

/** Bytes as text; bytes that are none are kept: their row is the problem, not their page. */
const textOrBytes = (bytes: Uint8Array): unknown => bytes && (plainText(bytes) ?? bytes);

/** How values become those of JSON. */
export const parsers = {
  ...DEFAULT_PARSERS,
  stringFromBytes: textOrBytes,
  jsonFromBytes: textOrBytes,
  dateFromDays: dateText,
  timestampFromMilliseconds: (units: bigint) => timeText(BigInt(units), 3),
  timestampFromMicroseconds: (units: bigint) => timeText(BigInt(units), 6),
  timestampFromNanoseconds: (units: bigint) => timeText(BigInt(units), 9),
} as unknown as ParquetParsers;

/** What the library does not convert, or not to the nearest number; null: it does. */
export function ownConversion(element: SchemaElement): ((value: unknown) => unknown) | null {
  const { converted_type: converted, logical_type: logical } = element;
  if (converted === 'DECIMAL' || logical?.type === 'DECIMAL') {
    const scale = element.scale ?? (logical?.type === 'DECIMAL' ? logical.scale : 0);
    const precision = element.precision ?? (logical?.type === 'DECIMAL' ? logical.precision : 0);
    return (value) => decimalNumber(integerOf(value), scale, precision);
  }
  const small = smallOf(element);
  if (small) return small;
  const digits =
    logical?.type === 'TIME'
      ? { MILLIS: 3, MICROS: 6, NANOS: 9 }[logical.unit]
      : ({ TIME_MILLIS: 3, TIME_MICROS: 6 } as Record<string, number>)[converted ?? ''];
  return digits === undefined
    ? null
    : (value) => dayTimeText(BigInt(value as bigint | number), digits);
}

/** Integers of 8 and 16 bits, for which the file has 32. */
function smallOf({ converted_type: converted, logical_type: logical }: SchemaElement) {
  const [, unsigned, digits] = /^(U?)INT_(8|16)$/.exec(converted ?? '') ?? [];
  const isInteger = logical?.type === 'INTEGER' && logical.bitWidth < 32;
  if (digits === undefined && !isInteger) return null;
  const bits = isInteger ? logical.bitWidth : Number(digits);
  const isSigned = isInteger ? logical.isSigned : unsigned === '';
  const [least, most] = isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
  return (value: unknown): unknown =>
    least <= (value as number) && (value as number) <= most
      ? value
      : new Unreadable(`${value} is no integer of ${bits} bits`);
}

/** Two's complement, its most significant byte first. */
function integerOf(value: unknown): bigint {
  if (!(value instanceof Uint8Array)) return BigInt(value as bigint | number);
  let number = 0n;
  for (const byte of value) number = (number << 8n) | BigInt(byte);
  return BigInt.asIntN(8 * value.length, number);
}
