import { bitsOf, type CodeMap } from './codeMaps.js';

/**
 * Writes the codes of numbers: of the nearest value of the map to their share of the absmax of
 * their block, of two equally near the lower. The code of the i-th number goes to its place in
 * `codes`; 4-bit codes are added to what is there, which is zero.
 */
export interface NearestCodes {
  /** @param share in float32 */
  writeOne(i: number, share: number, codes: Uint8Array): void;
  /**
   * The codes of `values[first ... end - 1]`, whose shares are products with `reciprocal`, rounded
   * to float32.
   *
   * @param base the place of `values[0]` among all numbers
   */
  write(
    values: Float32Array,
    first: number,
    end: number,
    reciprocal: number,
    codes: Uint8Array,
    base: number,
  ): void;
}

/** Cells between 0 and 1: so many that few shares lie in a cell with a limit. A power of two. */
const CELLS = 8192;
/** Above all codes. */
const UNSURE = 256;

/**
 * A share's cell is one product, one sum and one look at a table. The search among the limits is
 * left to shares whose cell has a limit in it.
 */
export function nearestCodes(map: CodeMap): NearestCodes {
  const { fround } = Math;
  const isPacked = bitsOf(map) === 4;
  // Codes in the order of what they stand for, and the limits between neighbours.
  const order = Array.from(map.keys()).sort((a, b) => map[a]! - map[b]!);
  const limits = Float32Array.from(order.slice(1), (code, i) =>
    fround(fround(map[order[i]!]! + map[code]!) / 2),
  );
  const cells = cellsOf(order, limits);
  const writeOne = (i: number, share: number, codes: Uint8Array) => {
    const code = order[rank(limits, Math.max(-1, Math.min(1, share)))]!;
    if (isPacked) codes[i >> 1]! |= i & 1 ? code : code << 4;
    else codes[i] = code;
  };
  return {
    writeOne,
    write(values, first, end, reciprocal, codes, base) {
      // The product of two float32 numbers is exact in float64, and stays so times a power of two.
      const scale = reciprocal * CELLS;
      // Codes that share a byte with another block's are written one by one.
      const isSplit = isPacked && (((base + first) | (end - first)) & 1) !== 0;
      if (!isSplit) {
        const writeAll = isPacked ? writePairs : writeBytes;
        if (writeAll(values, first, end, scale, cells, codes, base) < UNSURE) return;
      }
      for (let i = first; i < end; i++)
        if (isSplit || cells[(values[i]! * scale + CELLS) | 0]! >= UNSURE)
          writeOne(base + i, fround(values[i]! * reciprocal), codes);
    },
  };
}

/**
 * The code of each share from -1 to 1 by its cell: right for all shares of the cell, or
 * {@link UNSURE} where a limit lies in it.
 */
function cellsOf(order: readonly number[], limits: Float32Array): Uint16Array {
  const cells = new Uint16Array(2 * CELLS + 1);
  // A share is rounded to float32, its cell comes of the product before: off by 2^-25 at most.
  const slack = 2 ** -23;
  const cell = (share: number) => Math.max(0, Math.floor((share + 1) * CELLS));
  let first = 0;
  order.forEach((code, i) => {
    const limit = limits[i] ?? 2;
    cells.fill(code, first, cell(limit - slack));
    first = cell(limit + slack) + 1;
    cells.fill(UNSURE, cell(limit - slack), first);
  });
  return cells;
}

/**
 * Two codes a byte, zero where the cell is unsure.
 *
 * @returns at least UNSURE where a cell is
 */
function writePairs(
  values: Float32Array,
  first: number,
  end: number,
  scale: number,
  cells: Uint16Array,
  codes: Uint8Array,
  base: number,
): number {
  let seen = 0;
  let at = (base + first) >> 1;
  for (let i = first; i < end; i += 2) {
    const high = cells[(values[i]! * scale + CELLS) | 0]!;
    const low = cells[(values[i + 1]! * scale + CELLS) | 0]!;
    seen |= high | low;
    codes[at++] = (high << 4) | low;
  }
  return seen;
}

/** As {@link writePairs}, a byte a code. */
function writeBytes(
  values: Float32Array,
  first: number,
  end: number,
  scale: number,
  cells: Uint16Array,
  codes: Uint8Array,
  base: number,
): number {
  let seen = 0;
  for (let i = first; i < end; i++) {
    const code = cells[(values[i]! * scale + CELLS) | 0]!;
    seen |= code;
    codes[base + i] = code;
  }
  return seen;
}

/** How many limits lie below `x`. */
function rank(limits: Float32Array, x: number): number {
  let low = 0;
  let high = limits.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (limits[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
