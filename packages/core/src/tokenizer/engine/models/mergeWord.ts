import type { PairTable } from '../pairTable.js';

/** A word as a list of symbols, each with its id and [begin, end) of the word. */
export interface Symbols {
  readonly ids: Uint32Array;
  readonly begins: Uint32Array;
  readonly ends: Uint32Array;
  /** The symbol behind each; -1 behind the last. Merged ones are left out. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
}

/**
 * Words up to this many symbols are searched for their best pair again and again; longer ones keep
 * a heap.
 */
const SHORT = 24;

/**
 * Merges neighbours, the pair of lowest rank first and of equal ones the leftmost, until none is
 * left. Afterwards the symbols are those that `next` leads through, from 0.
 */
export function mergeWord(
  symbols: Symbols,
  count: number,
  ranks: PairTable,
  results: Uint32Array,
): void {
  const { next, previous } = symbols;
  for (let i = 0; i < count; i++) {
    next[i] = i + 1 < count ? i + 1 : -1;
    previous[i] = i - 1;
  }
  if (count < 2) return;
  if (count <= SHORT) mergeShort(symbols, ranks, results);
  else mergeLong(symbols, count, ranks, results);
}

function mergeShort(symbols: Symbols, ranks: PairTable, results: Uint32Array): void {
  const { ids, next } = symbols;
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; ; ) {
      const after = next[i]!;
      if (after < 0) break;
      const rank = ranks.get(ids[i]!, ids[after]!);
      if (rank >= 0 && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
      i = after;
    }
    if (best < 0) return;
    join(symbols, best, results[bestRank]!);
  }
}

function mergeLong(symbols: Symbols, count: number, ranks: PairTable, results: Uint32Array): void {
  const { ids, next, previous } = symbols;
  const heap = new Heap(count);
  const offer = (left: number) => {
    const right = next[left]!;
    if (right < 0) return;
    const rank = ranks.get(ids[left]!, ids[right]!);
    if (rank >= 0) heap.push(rank * PLACES + left);
  };
  for (let i = 0; i < count; i++) offer(i);
  for (;;) {
    const best = heap.pop();
    if (best < 0) return;
    const left = best % PLACES;
    const rank = (best - left) / PLACES;
    const right = next[left]!;
    // What was offered may be gone, or may have become another pair.
    if (right < 0 || right === GONE || ranks.get(ids[left]!, ids[right]!) !== rank) continue;
    join(symbols, left, results[rank]!);
    offer(left);
    if (previous[left]! >= 0) offer(previous[left]!);
  }
}

/** What `next` of a symbol says that was merged into the one before. */
const GONE = -2;

/** Ranks and places share a number: places are below this. */
const PLACES = 2 ** 30;

function join({ ids, ends, next, previous }: Symbols, left: number, id: number): void {
  const right = next[left]!;
  const after = next[right]!;
  ids[left] = id;
  ends[left] = ends[right]!;
  next[left] = after;
  if (after >= 0) previous[after] = left;
  next[right] = GONE;
}

/** The smallest of many numbers, again and again. */
class Heap {
  #items: Float64Array;
  #size = 0;

  constructor(expected: number) {
    this.#items = new Float64Array(expected + 1);
  }

  push(item: number): void {
    if (this.#size === this.#items.length) {
      const larger = new Float64Array(this.#items.length * 2);
      larger.set(this.#items);
      this.#items = larger;
    }
    const items = this.#items;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (items[parent]! <= item) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  /** The smallest, taken out; -1 when there is none. */
  pop(): number {
    if (this.#size === 0) return -1;
    const items = this.#items;
    const smallest = items[0]!;
    const item = items[--this.#size]!;
    const size = this.#size;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= item) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
    return smallest;
  }
}
