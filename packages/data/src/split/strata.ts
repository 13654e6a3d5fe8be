import type { SplitName } from '../contract/dataRow.js';
import { SIDES } from './sides.js';

/** Groups of a stratum on each side. */
export type StratumReport = {
  readonly name: string;
  readonly groups: Readonly<Record<SplitName, number>>;
};

/**
 * The stratum of each group: that of most of its rows, of equally many the first by name. Memory:
 * 4 bytes for each group, and a count of strata for the groups that have several.
 */
export class Strata {
  readonly #numbers = new Map<string, number>();
  #of = new Uint32Array(1024);
  /** How often each stratum is in a group that has several. */
  readonly #mixed = new Map<number, Map<number, number>>();
  /** Rows of each group, so that a second stratum knows how often the first was there. */
  #rows = new Uint32Array(1024);

  add(group: number, name: string): void {
    if (group >= this.#of.length) {
      this.#of = grown(this.#of, group);
      this.#rows = grown(this.#rows, group);
    }
    const known = this.#numbers.get(name);
    const stratum = known ?? this.#numbers.size;
    if (known === undefined) this.#numbers.set(name, stratum);
    const before = this.#rows[group]!++;
    if (before === 0) this.#of[group] = stratum;
    let counts = this.#mixed.get(group);
    if (counts === undefined) {
      if (this.#of[group] === stratum) return;
      counts = new Map([[this.#of[group]!, before]]);
      this.#mixed.set(group, counts);
    }
    counts.set(stratum, (counts.get(stratum) ?? 0) + 1);
  }

  /** Groups whose rows are of several strata. */
  get mixedGroups(): number {
    return this.#mixed.size;
  }

  /** Strata are numbered by name, so that the order of rows plays no part. */
  finish(groups: number): { of: Uint32Array; count: number; names: readonly string[] } {
    const names = [...this.#numbers.keys()].sort();
    const byName = new Uint32Array(names.length);
    for (const [number, name] of names.entries()) byName[this.#numbers.get(name)!] = number;
    const of = this.#of.slice(0, groups).map((stratum) => byName[stratum]!);
    for (const [group, counts] of this.#mixed) {
      const most = [...counts].sort((a, b) => b[1] - a[1] || byName[a[0]]! - byName[b[0]]!)[0]!;
      of[group] = byName[most[0]]!;
    }
    return { of, count: names.length, names };
  }
}

function grown(numbers: Uint32Array, index: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(2 * numbers.length, index + 1));
  larger.set(numbers);
  return larger;
}

/** Groups of each stratum on each side. */
export function strataReport(
  names: readonly string[],
  of: Uint32Array,
  sides: Uint8Array,
): StratumReport[] {
  const counts = names.map(() => SIDES.map(() => 0));
  for (let group = 0; group < sides.length; group++) counts[of[group]!]![sides[group]!]!++;
  return names.map((name, i) => ({ name, groups: bySide(counts[i]!) }));
}

/** Numbers of the sides, under their names. */
export const bySide = (counts: ArrayLike<number>): Record<SplitName, number> => ({
  train: counts[0]!,
  validation: counts[1]!,
  test: counts[2]!,
});
