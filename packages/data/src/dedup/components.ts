import { IntList } from './growing.js';

/** Sets of rows that are joined pair by pair (union-find, with path halving and by size). */
export class Components {
  readonly #parent = new IntList();
  readonly #size = new IntList();

  /** Makes room for rows up to this number: each is alone. */
  reach(row: number): void {
    while (this.#parent.length <= row) {
      this.#parent.push(this.#parent.length);
      this.#size.push(1);
    }
  }

  rootOf(row: number): number {
    const parent = this.#parent.values;
    let at = row;
    while (parent[at] !== at) {
      parent[at] = parent[parent[at]!]!;
      at = parent[at]!;
    }
    return at;
  }

  sizeOf(row: number): number {
    return this.#size.values[this.rootOf(row)]!;
  }

  join(a: number, b: number): void {
    let larger = this.rootOf(a);
    let smaller = this.rootOf(b);
    if (larger === smaller) return;
    const size = this.#size.values;
    if (size[larger]! < size[smaller]!) [larger, smaller] = [smaller, larger];
    this.#parent.values[smaller] = larger;
    size[larger]! += size[smaller]!;
  }
}
