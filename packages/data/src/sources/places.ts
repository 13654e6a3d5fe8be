import { Buffer } from 'node:buffer';
import type { Row } from '@attune/core';
import { formatBytes } from '@attune/core/util';
import type { DataRow, RowProblem } from '../contract/dataRow.js';

/** Characters of what stands in the place of a row. */
const RAW_CHARACTERS = 2 ** 14;

/** Numbers the places of one file, each a row or a problem. */
export class Places {
  #next = 0;

  constructor(private readonly file: string) {}

  row(row: Row, line?: number): DataRow {
    const { file } = this;
    const index = this.#next++;
    return {
      row,
      origin: line === undefined ? { file, row: index } : { file, row: index, line },
    };
  }

  /** @param problem a sentence */
  problem(problem: string, line?: number, raw?: string): RowProblem {
    const { file } = this;
    const row = this.#next++;
    return {
      problem,
      origin: line === undefined ? { file, row } : { file, row, line },
      ...(raw !== undefined && { raw: shortened(raw) }),
    };
  }

  /** A problem that takes the place of so many rows. */
  gap(problem: string, rows: number): RowProblem {
    const read = this.problem(problem);
    this.#next += Math.max(0, rows - 1);
    return read;
  }
}

/** A copy: a part of a text would keep all of it in memory. */
const shortened = (raw: string): string => {
  const shown = raw.length > RAW_CHARACTERS ? `${raw.slice(0, RAW_CHARACTERS)}...` : raw;
  return Buffer.from(shown).toString();
};

/** A problem: the row is longer than is read. */
export const tooLong = (bytes: number, limit: number): string =>
  `the row has ${formatBytes(bytes)}, and at most ${limit} bytes are read: raise maxRowBytes to read it.`;

/** A problem: the file ends before it should. */
export const cutOff = (why: string): string => `${why}; what comes behind is not read.`;

/**
 * A problem: bytes that are no text.
 *
 * @param offset of the first of them in the whole text
 * @param encoding of the file
 */
export function notText(bytes: Buffer, offset: number, encoding: string): string {
  if (encoding !== 'utf-8')
    return `the row has bytes that are no characters of ${encoding}. If the file has another encoding, name it, e.g. encoding: "windows-1252".`;
  const at = firstBadByte(bytes);
  const byte = bytes[at]!.toString(16).padStart(2, '0');
  return `not UTF-8 text: byte ${at} of the row (byte ${offset + at} of the text) is 0x${byte}. If the file has another encoding, name it, e.g. encoding: "windows-1252".`;
}

const REPLACED = '\ufffd';
const REPLACED_BYTES = Buffer.from(REPLACED);

/** Where bytes stop to be UTF-8, which they do: the first U+FFFD that they do not spell. */
function firstBadByte(bytes: Buffer): number {
  let from = 0;
  for (;;) {
    const text = bytes.toString('utf8', from);
    const at = text.indexOf(REPLACED);
    if (at < 0) return bytes.length - 1;
    const place = from + Buffer.byteLength(text.slice(0, at));
    if (!bytes.subarray(place, place + 3).equals(REPLACED_BYTES)) return place;
    from = place + 3;
  }
}
