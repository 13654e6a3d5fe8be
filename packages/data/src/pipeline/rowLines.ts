import type { Row } from '@attune/core';
import type { DataRow, RowOrigin, SplitName } from '../contract/dataRow.js';

// JSON.stringify refuses a BigInt, writes 1e20 as an integer, which is read as a BigInt, and
// JSON.parse rounds an integer above 2^53. Rows with such numbers are rare: only they take the slow
// way.

/** What 2^53 and more are written as, if not as a BigInt. */
const LONG_INTEGER = /\d{16}/;

/**
 * A row as a line of JSON. Integers above 2^53 (BigInt) are written as integers, other numbers from
 * there on with an exponent: each is read as what it was.
 */
export function rowToJson(row: Row): string {
  try {
    const text = JSON.stringify(row);
    return LONG_INTEGER.test(text) ? valueToJson(row) : text;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return valueToJson(row);
  }
}

/** Marks a BigInt within a JSON text: no file holds these characters side by side. */
const MARK = '\u{f0001}\u{f0002}';
const MARKED = new RegExp(`"${MARK}(-?[\\d.e+]+)"`, 'gu');

/** Any value as JSON; integers above 2^53 (BigInt) as integers, other such numbers as floats. */
export const valueToJson = (value: unknown, indent = 0): string =>
  JSON.stringify(
    value,
    (_key, item: unknown) => {
      if (typeof item === 'bigint') return `${MARK}${item}`;
      const isLarge = Number.isInteger(item) && !Number.isSafeInteger(item);
      return isLarge ? `${MARK}${(item as number).toExponential()}` : item;
    },
    indent,
  ).replace(MARKED, '$1');

/** What a held row is written as: an array, so that no key comes twice on each line. */
type Line = [row: Row, file: number, index: number, line: number | null, split: SplitName | null];

/** Rows as lines of a file that belongs to one run, and back. File names are written once. */
export class RowLines {
  readonly #files: string[];
  readonly #numbers: Map<string, number>;

  /** @param files of lines that were written before, by their numbers */
  constructor(files: readonly string[] = []) {
    this.#files = [...files];
    this.#numbers = new Map(files.map((file, i) => [file, i]));
  }

  /** By their numbers. */
  get files(): readonly string[] {
    return this.#files;
  }

  toLine({ row, origin, split }: DataRow): string {
    const { file, row: index, line = null } = origin;
    const parts: Line = [row, this.#number(file), index, line, split ?? null];
    try {
      return JSON.stringify(parts);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return JSON.stringify(parts, (_key, item: unknown) =>
        typeof item === 'bigint' ? `${MARK}${item}` : item,
      );
    }
  }

  fromLine(text: string): DataRow {
    const parts = text.includes(MARK)
      ? (JSON.parse(text, (_key, item: unknown) =>
          typeof item === 'string' && item.startsWith(MARK)
            ? BigInt(item.slice(MARK.length))
            : item,
        ) as Line)
      : (JSON.parse(text) as Line);
    const [row, file, index, line, split] = parts;
    const origin: RowOrigin = {
      file: this.#files[file]!,
      row: index,
      ...(line !== null && { line }),
    };
    return { row, origin, ...(split !== null && { split }) };
  }

  #number(file: string): number {
    const known = this.#numbers.get(file);
    if (known !== undefined) return known;
    this.#files.push(file);
    this.#numbers.set(file, this.#files.length - 1);
    return this.#files.length - 1;
  }
}
