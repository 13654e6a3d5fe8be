import type { Row } from '@attune/core';
import { rowText } from '../schemas/rowText.js';

/** Counts of numbers in bars side by side: bar i holds numbers from edge i up to edge i + 1. */
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
  /** Characters of the text of a row, in bars that grow by the square root of two. */
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
  readonly #characters = new LengthBars();
  readonly #numbers = new Map<string, NumberBars>();
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
      bars = new NumberBars();
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

class Moments {
  count = 0;
  least = Number.POSITIVE_INFINITY;
  largest = Number.NEGATIVE_INFINITY;
  mean = 0;

  add(value: number): void {
    this.count++;
    this.least = Math.min(this.least, value);
    this.largest = Math.max(this.largest, value);
    this.mean += (value - this.mean) / this.count;
  }

  with(histogram: Histogram): NumberSummary {
    const { count, least, largest, mean } = this;
    return { count, least, largest, mean, histogram };
  }
}

/** Lengths in bars of half an octave: lengths of texts span powers of ten. */
class LengthBars {
  readonly #counts: number[] = [];
  readonly #moments = new Moments();

  add(length: number): void {
    this.#moments.add(length);
    const bar = length === 0 ? 0 : 1 + Math.floor(2 * Math.log2(length));
    while (this.#counts.length <= bar) this.#counts.push(0);
    this.#counts[bar]!++;
  }

  summary(): NumberSummary {
    const first = this.#counts.findIndex((count) => count > 0);
    const edge = (bar: number) => (bar === 0 ? 0 : Math.ceil(2 ** ((bar - 1) / 2)));
    const counts = this.#counts.slice(first);
    return this.#moments.with({ edges: [...counts, 0].map((_, i) => edge(first + i)), counts });
  }
}

const BARS = 40;
/** Numbers that are kept until the span is known. */
const FIRST_NUMBERS = 1000;

/** Numbers in 40 bars whose span doubles when a number is beyond it. */
class NumberBars {
  #first: number[] | null = [];
  #from = 0;
  #width = 1;
  #counts = new Array<number>(BARS).fill(0);
  readonly #moments = new Moments();

  add(value: number): void {
    this.#moments.add(value);
    if (this.#first === null) this.#count(value);
    else if (this.#first.push(value) === FIRST_NUMBERS) this.#open();
  }

  #open(): void {
    const { least, largest } = this.#moments;
    this.#from = least;
    this.#width = (largest - least) / BARS || Math.abs(least) / BARS || 1 / BARS;
    const first = this.#first!;
    this.#first = null;
    for (const value of first) this.#count(value);
  }

  #count(value: number): void {
    let bar = this.#barOf(value);
    // The largest number of a span that is known lies on its last edge.
    if (bar === BARS && value === this.#moments.largest && value <= this.#edge(BARS)) bar--;
    while (bar < 0 || bar >= BARS) {
      this.#double(bar < 0);
      bar = this.#barOf(value);
    }
    this.#counts[bar]!++;
  }

  #barOf = (value: number) => Math.floor((value - this.#from) / this.#width);
  #edge = (bar: number) => this.#from + bar * this.#width;

  #double(isDown: boolean): void {
    if (isDown) this.#from -= BARS * this.#width;
    this.#width *= 2;
    const offset = isDown ? BARS / 2 : 0;
    const wider = new Array<number>(BARS).fill(0);
    for (const [bar, count] of this.#counts.entries()) wider[offset + (bar >> 1)]! += count;
    this.#counts = wider;
  }

  summary(): NumberSummary {
    if (this.#first !== null) this.#open();
    const counts = this.#counts;
    return this.#moments.with({
      edges: Array.from({ length: BARS + 1 }, (_, i) => this.#edge(i)),
      counts: [...counts],
    });
  }
}
