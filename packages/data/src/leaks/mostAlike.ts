/** Training rows that are named for one evaluation row. */
const MOST = 1000;

/** A training row by its place among those with anything in common. */
interface Hit {
  readonly hit: number;
  readonly overlap: number;
}

/** The training rows that have the most of one evaluation row. Twice as many wait at most. */
export class MostAlike {
  /** All that were added. */
  count = 0;
  #hits: Hit[] = [];

  /** Hits come in their order. */
  add(hit: number, overlap: number): void {
    this.count++;
    this.#hits.push({ hit, overlap });
    if (this.#hits.length === 2 * MOST) this.#hits = this.first();
  }

  /** The largest overlaps first; of equal ones the first row. */
  first(): Hit[] {
    return this.#hits.toSorted((a, b) => b.overlap - a.overlap || a.hit - b.hit).slice(0, MOST);
  }
}
