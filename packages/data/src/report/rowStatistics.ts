import type { Row } from '@attune/core';
import { rowText } from '../schemas/rowText.js';
import { ValueBars } from './valueBars.js';

/**
 * Counts of numbers in bars side by side: bar i holds numbers from edge i up to edge i + 1. Bars
 * need not be equally wide.
 */
export type Histogram = {
  readonly edges: readonly number[];
  readonly counts: readonly number[];
};

/** A column of numbers, or the lengths of texts. */
export type NumberSummary = {
  readonly count: number;
  readonly least: number;
  readonly largest: number;
  readonly mean: number;
  readonly histogram: Histogram;
};

/** What the rows at the end of a pipeline are like. */
export type RowStatistics = {
  /** Characters of the text of a row. */
  readonly characters: NumberSummary | null;
  /** Columns with numbers: scores. */
  readonly numbers: Readonly<Record<string, NumberSummary>>;
  /**
   * Columns with up to 20 different short texts: languages, sources. Rows with each, most first.
   */
  readonly values: Readonly<Record<string, Readonly<Record<string, number>>>>;
};

/** Different texts of a column, and characters of one, beyond which it is not counted. */
const MOST_VALUES = 20;
const LONGEST_VALUE = 60;
/** Columns that are looked at: rows of a file may each have other ones. */
const MOST_COLUMNS = 50;

/** Counts rows as they pass. Memory does not grow with them. */
export class RowCounter {
  #rows = 0;
  readonly #characters = new Numbers();
  readonly #numbers = new Map<string, Numbers>();
  /** null: too many different texts. */
  readonly #values = new Map<string, Map<string, number> | null>();

  add(row: Row): void {
    this.#rows++;
    this.#characters.add(rowText(row).length);
    for (const name of Object.keys(row)) {
      const value = row[name];
      if (typeof value === 'number' && Number.isFinite(value)) this.#number(name, value);
      else if (typeof value === 'string') this.#value(name, value);
    }
  }

  #number(name: string, value: number): void {
    let bars = this.#numbers.get(name);
    if (bars === undefined) {
      if (this.#numbers.size === MOST_COLUMNS) return;
      bars = new Numbers();
      this.#numbers.set(name, bars);
    }
    bars.add(value);
  }

  #value(name: string, value: string): void {
    let counts = this.#values.get(name);
    if (counts === null) return;
    if (counts === undefined) {
      if (this.#values.size === MOST_COLUMNS) return;
      counts = new Map();
    }
    counts.set(value, (counts.get(value) ?? 0) + 1);
    const isTooMuch = value.length > LONGEST_VALUE || counts.size > MOST_VALUES;
    this.#values.set(name, isTooMuch ? null : counts);
  }

  summary(): RowStatistics {
    const numbers = [...this.#numbers].map(([name, bars]) => [name, bars.summary()] as const);
    // Texts that are all different are no values: three rows with three prompts.
    const values = [...this.#values].flatMap(([name, counts]) =>
      counts === null || 2 * counts.size > this.#rows
        ? []
        : [[name, Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]))] as const],
    );
    return {
      characters: this.#rows === 0 ? null : this.#characters.summary(),
      numbers: Object.fromEntries(numbers),
      values: Object.fromEntries(values),
    };
  }
}

/** Numbers in bars, with their mean and span. */
class Numbers {
  #count = 0;
  #least = Number.POSITIVE_INFINITY;
  #largest = Number.NEGATIVE_INFINITY;
  #mean = 0;
  readonly #bars = new ValueBars();

  add(value: number): void {
    this.#count++;
    this.#least = Math.min(this.#least, value);
    this.#largest = Math.max(this.#largest, value);
    this.#mean += (value - this.#mean) / this.#count;
    this.#bars.add(value);
  }

  summary(): NumberSummary {
    return {
      count: this.#count,
      least: this.#least,
      largest: this.#largest,
      mean: this.#mean,
      histogram: this.#bars.histogram(),
    };
  }
}
