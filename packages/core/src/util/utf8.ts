import { isUtf8 } from '#platform';
import { utf8Bytes, utf8Text } from './byteArrays.js';

const BOM = [0xef, 0xbb, 0xbf];

/** Whether bytes begin with UTF-8's byte order mark. */
export const hasBom = (bytes: Uint8Array): boolean => BOM.every((byte, i) => bytes[i] === byte);

/**
 * Bytes as text; a byte order mark stays in it. Nothing is replaced by U+FFFD.
 *
 * @throws RangeError saying at which byte they are no UTF-8
 */
export function decodeUtf8(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return utf8Text(bytes);
  const at = firstBadByte(bytes);
  throw new RangeError(
    `byte ${at} is 0x${bytes[at]!.toString(16).padStart(2, '0')}, which is no UTF-8`,
  );
}

/** Where the first character begins that is none. */
function firstBadByte(bytes: Uint8Array): number {
  const isGood = (length: number) => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  let good = 0;
  let bad = bytes.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isGood(middle)) good = middle;
    else bad = middle;
  }
  // A beginning that is cut off within a character counted as good.
  while (!isUtf8(bytes.subarray(0, good))) good--;
  return good;
}

const signatures: readonly (readonly [readonly number[], string])[] = [
  [[0xff, 0xfe, 0, 0], 'UTF-32 text'],
  [[0, 0, 0xfe, 0xff], 'UTF-32 text'],
  [[0xff, 0xfe], 'UTF-16 text'],
  [[0xfe, 0xff], 'UTF-16 text'],
  [[0x1f, 0x8b], 'compressed by gzip'],
  [[0x28, 0xb5, 0x2f, 0xfd], 'compressed by zstd'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], 'compressed by xz'],
  [[0x50, 0x4b, 3, 4], 'a zip archive'],
  [[...utf8Bytes('PAR1\x15')], 'a Parquet file'],
  [[...utf8Bytes('ARROW1\0\0')], 'an Arrow file'],
];

/**
 * What a file is that is no UTF-8 text, by its first bytes; null when they do not tell. UTF-16
 * without a byte order mark shows by the zero in its first character or two.
 */
export function otherFormat(head: Uint8Array): string | null {
  for (const [bytes, name] of signatures)
    if (bytes.every((byte, i) => head[i] === byte)) return name;
  const [a, b, c, d] = head;
  if (d === undefined) return null;
  const isZero = [a, b, c, d].map((byte) => byte === 0);
  const is = (...zeros: boolean[]) => zeros.every((zero, i) => zero === isZero[i]);
  if (is(false, true, false, true) || is(true, false, true, false)) return 'UTF-16 text';
  return is(false, true, true, true) || is(true, true, true, false) ? 'UTF-32 text' : null;
}
