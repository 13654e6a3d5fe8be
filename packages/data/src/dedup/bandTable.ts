/** Nodes of a page. A page never moves: growing a table of 200 MB would need 400 MB. */
const PAGE_BITS = 20;
const PAGE = 2 ** PAGE_BITS;

/** Numbers by 32-bit keys, several to a key, in 8 bytes each and 4 more for each head of a list. */
export class BandTable {
  /** Node n of a page has its key at 2n, and 1 + the next node at 2n + 1. */
  readonly #pages: Int32Array[] = [];
  /** 1 + the first node of a list; 0: none. */
  #heads = new Int32Array(1024);
  #length = 0;

  /** Adds the next number: 0, 1, 2, ... */
  add(key: number): void {
    const node = this.#length++;
    if ((node & (PAGE - 1)) === 0) this.#pages.push(new Int32Array(2 * PAGE));
    if (node >= 2 * this.#heads.length) this.#grow(node);
    this.#link(node, key);
  }

  /** 1 + the newest number with a key; 0: there is none. */
  first(key: number): number {
    return this.#from(this.#heads[key & (this.#heads.length - 1)]!, key);
  }

  /** 1 + the number with the same key that was added before; 0: there is none. */
  before(number: number, key: number): number {
    return this.#from(this.#pages[number >> PAGE_BITS]![2 * (number & (PAGE - 1)) + 1]!, key);
  }

  #from(start: number, key: number): number {
    let next = start;
    while (next !== 0) {
      const node = next - 1;
      const page = this.#pages[node >> PAGE_BITS]!;
      const at = 2 * (node & (PAGE - 1));
      if (page[at] === key) return next;
      next = page[at + 1]!;
    }
    return 0;
  }

  #link(node: number, key: number): void {
    const page = this.#pages[node >> PAGE_BITS]!;
    const at = 2 * (node & (PAGE - 1));
    const slot = key & (this.#heads.length - 1);
    page[at] = key;
    page[at + 1] = this.#heads[slot]!;
    this.#heads[slot] = node + 1;
  }

  #grow(nodes: number): void {
    this.#heads = new Int32Array(2 * this.#heads.length);
    for (let node = 0; node < nodes; node++)
      this.#link(node, this.#pages[node >> PAGE_BITS]![2 * (node & (PAGE - 1))]!);
  }
}
