import type { Row } from '@attune/core';
import { isPlainObject } from '@attune/core/util';

/** What a value is, as a report calls it. */
export type ValueType = 'text' | 'integer' | 'number' | 'boolean' | 'list' | 'object' | 'other';

/** What stands in a column. */
export type ColumnSummary = {
  readonly name: string;
  /** Values of each type, most first. */
  readonly types: Readonly<Partial<Record<ValueType, number>>>;
  /** Rows where it is null. */
  readonly nulls: number;
  /** Rows that lack it. */
  readonly absent: number;
};

/** Columns that are counted: rows of a file may each have other ones. */
const MOST_COLUMNS = 200;

/** Counts the columns of rows as they pass. */
export class ColumnTally {
  #rows = 0;
  /** Columns beyond those that are counted. */
  #isFull = false;
  readonly #columns = new Map<
    string,
    { types: Map<ValueType, number>; nulls: number; seen: number }
  >();

  add(row: Row): void {
    this.#rows++;
    for (const name of Object.keys(row)) {
      let column = this.#columns.get(name);
      if (column === undefined) {
        if (this.#columns.size === MOST_COLUMNS) {
          this.#isFull = true;
          continue;
        }
        column = { types: new Map(), nulls: 0, seen: 0 };
        this.#columns.set(name, column);
      }
      column.seen++;
      const value = row[name];
      if (value === null || value === undefined) column.nulls++;
      else {
        const type = typeOf(value);
        column.types.set(type, (column.types.get(type) ?? 0) + 1);
      }
    }
  }

  /** Whether there are more columns than are counted. */
  get isFull(): boolean {
    return this.#isFull;
  }

  summary(): ColumnSummary[] {
    return [...this.#columns].map(([name, { types, nulls, seen }]) => ({
      name,
      types: Object.fromEntries([...types].sort((a, b) => b[1] - a[1])),
      nulls,
      absent: this.#rows - seen,
    }));
  }
}

function typeOf(value: unknown): ValueType {
  switch (typeof value) {
    case 'string':
      return 'text';
    case 'bigint':
      return 'integer';
    case 'number':
      return Number.isInteger(value) ? 'integer' : 'number';
    case 'boolean':
      return 'boolean';
    default:
      return Array.isArray(value) ? 'list' : isPlainObject(value) ? 'object' : 'other';
  }
}
