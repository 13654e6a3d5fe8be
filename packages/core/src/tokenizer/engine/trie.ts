import { PairTable } from './pairTable.js';

/** Texts by their beginnings, letter by letter (UTF-16 units). */
export class Trie {
  readonly #children = new PairTable();
  readonly #values: number[] = [-1];

  add(text: string, value: number): void {
    let node = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let child = this.#children.get(node, unit);
      if (child < 0) {
        child = this.#values.length;
        this.#values.push(-1);
        this.#children.set(node, unit, child);
      }
      node = child;
    }
    this.#values[node] = value;
  }

  /** The node behind a letter; -1 when no text goes on so. The root is 0. */
  next(node: number, unit: number): number {
    return this.#children.get(node, unit);
  }

  /** The value of the text that ends at a node; -1 when none does. */
  valueAt(node: number): number {
    return this.#values[node]!;
  }
}
