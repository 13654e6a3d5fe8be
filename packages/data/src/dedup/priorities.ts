import type { Row } from '@attune/core';
import type { SplitName } from '../contract/dataRow.js';
import { IntList, roomFor } from './growing.js';
import type { DedupePlan } from './options.js';

/** A test set that lost a row to the training set would be another test set. */
const RANK: Readonly<Record<SplitName, number>> = { test: 2, validation: 1, train: 0 };

/** In which order rows are considered: one that comes earlier stays. */
export class Priorities {
  /** Rows without a number in the column that decides. */
  withoutScore = 0;
  readonly #ranks = new IntList();
  #scores: Float64Array | null;

  constructor(private readonly keep: DedupePlan['keep']) {
    this.#scores = keep === 'first' ? null : new Float64Array(256);
  }

  add(row: Row, split: SplitName | undefined, text: () => string): void {
    const index = this.#ranks.length;
    this.#ranks.push(split === undefined ? 0 : RANK[split]);
    if (this.#scores === null) return;
    this.#scores = roomFor(this.#scores, index + 1);
    this.#scores[index] = this.#score(row, text);
  }

  #score(row: Row, text: () => string): number {
    const { keep } = this;
    if (typeof keep === 'string') return text().length;
    const value = row[keep.column];
    if (typeof value === 'number' && Number.isFinite(value))
      return keep.order === 'highest' ? value : -value;
    this.withoutScore++;
    return Number.NEGATIVE_INFINITY;
  }

  /** Places of the rows, the one that is considered first in front. */
  order(): Int32Array {
    const ranks = this.#ranks.values;
    const scores = this.#scores;
    const order = Int32Array.from({ length: this.#ranks.length }, (_, i) => i);
    const compare = (a: number, b: number): number => {
      if (ranks[a] !== ranks[b]) return ranks[b]! - ranks[a]!;
      if (scores !== null && scores[a] !== scores[b]) return scores[a]! > scores[b]! ? -1 : 1;
      return a - b;
    };
    return order.sort(compare);
  }
}
