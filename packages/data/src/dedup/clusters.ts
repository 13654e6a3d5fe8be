import { formatOrigin } from '../contract/dataRow.js';
import { IntList } from './growing.js';
import type { SeenRows } from './seenRows.js';

/** Clusters that a report shows. */
const SHOWN = 10;
/** Rows of each of them that it names, and characters of one that it shows. */
const MEMBERS = 5;
const SAMPLE = 200;

/** Clusters of rows that are copies of one another. */
export type ClusterFacts = {
  readonly count: number;
  /** Clusters by their rows: "2", "3-4", "5-8", ... */
  readonly sizes: Readonly<Record<string, number>>;
  /** The ten largest: the row that stays, some that went, and the text of one of them. */
  readonly largest: readonly {
    readonly rows: number;
    readonly kept: string;
    readonly dropped: readonly string[];
    readonly text: string | null;
  }[];
};

/** Which row stays for which, and how many there are of each. */
export class Clusters {
  /** The row that stays for a row; itself: it stays. */
  readonly #keptFor = new IntList();
  /** Rows that a row stays for, itself counted. */
  readonly #sizes = new IntList();
  /** Text of a row that went, of the clusters that are largest so far. */
  readonly #samples = new Map<number, string>();

  /** Rows are noted in the order of their numbers. */
  add(): void {
    this.#keptFor.push(this.#keptFor.length);
    this.#sizes.push(1);
  }

  /** @returns the row that stays for it */
  merge(row: number, of: number, text: string): number {
    const kept = this.keptFor(of);
    const sizes = this.#sizes.values;
    this.#keptFor.values[row] = kept;
    sizes[kept]! += sizes[row]!;
    sizes[row] = 0;
    this.#sample(kept, text);
    return kept;
  }

  keptFor(row: number): number {
    const { values } = this.#keptFor;
    let kept = row;
    while (values[kept] !== kept) kept = values[kept]!;
    return kept;
  }

  #sample(kept: number, text: string): void {
    if (this.#samples.has(kept)) return;
    const sizes = this.#sizes.values;
    if (this.#samples.size === SHOWN) {
      let least = kept;
      for (const other of this.#samples.keys()) if (sizes[other]! < sizes[least]!) least = other;
      if (least === kept) return;
      this.#samples.delete(least);
    }
    this.#samples.set(kept, text.slice(0, SAMPLE));
  }

  /** The largest cluster. */
  largest(): { readonly kept: number; readonly size: number } {
    return this.#largest()[0] ?? { kept: 0, size: 0 };
  }

  #largest(): { kept: number; size: number }[] {
    const found: { kept: number; size: number }[] = [];
    for (let kept = 0; kept < this.#sizes.length; kept++) {
      const size = this.#sizes.values[kept]!;
      if (size < 2 || size <= (found[SHOWN - 1]?.size ?? 0)) continue;
      const place = found.findIndex((other) => other.size < size);
      found.splice(place < 0 ? found.length : place, 0, { kept, size });
      found.length = Math.min(found.length, SHOWN);
    }
    return found;
  }

  /** For the report: how many clusters of which size, and the largest ones. */
  facts(rows: SeenRows): ClusterFacts {
    const sizes = new Map<number, number>();
    let count = 0;
    for (let row = 0; row < this.#sizes.length; row++) {
      const size = this.#sizes.values[row]!;
      if (size < 2) continue;
      count++;
      const power = Math.ceil(Math.log2(size));
      sizes.set(power, (sizes.get(power) ?? 0) + 1);
    }
    const largest = this.#largest();
    const members = new Map(largest.map(({ kept }) => [kept, [] as string[]]));
    for (let row = 0; row < this.#keptFor.length; row++) {
      if (this.#keptFor.values[row] === row) continue;
      const named = members.get(this.keptFor(row));
      if (named && named.length < MEMBERS) named.push(formatOrigin(rows.originOf(row)));
    }
    return {
      count,
      sizes: Object.fromEntries(
        [...sizes].sort(([a], [b]) => a - b).map(([power, number]) => [rangeOf(power), number]),
      ),
      largest: largest.map(({ kept, size }) => ({
        rows: size,
        kept: formatOrigin(rows.originOf(kept)),
        dropped: members.get(kept)!,
        text: this.#samples.get(kept) ?? null,
      })),
    };
  }
}

/** "2", "3-4", "5-8", ... */
const rangeOf = (power: number): string =>
  power === 1 ? '2' : `${2 ** (power - 1) + 1}-${2 ** power}`;
