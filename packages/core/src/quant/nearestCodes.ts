import { bitsOf, type CodeMap } from './codeMaps.js';

/**
 * Writes the codes of numbers: of the nearest value of the map to their share of the absmax of
 * their block, of two equally near the lower. The code of the i-th number goes to its place in
 * `codes`; 4-bit codes are added to what is there, which is zero.
 */
export interface NearestCodes {
  /** @param share in float32 */
  writeOne(i: number, share: number, codes: Uint8Array): void;
  /** The codes of whole blocks: shares are products with 1 / absmax, rounded to float32. */
  writeBlocks(blocks: WholeBlocks, codes: Uint8Array): void;
}

/** Blocks of equal size, one after the other. */
export interface WholeBlocks {
  readonly values: Float32Array;
  readonly blockSize: number;
  /** How many. */
  readonly count: number;
  /** The place of `values[0]` among all numbers: that of its code. */
  readonly base: number;
  /** The largest |x| of all blocks there are, those here from `base / blockSize` on. */
  readonly absmax: Float32Array;
}

/** |absmax| below this counts as this, so that a block of zeros has a reciprocal. */
export const TINY = Math.fround(1e-38);

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
  /** Those whose cells are unsure; all of them where codes of two blocks share a byte. */
  const writeRest = (
    { values, base }: WholeBlocks,
    first: number,
    end: number,
    r: number,
    codes: Uint8Array,
    isSplit: boolean,
  ) => {
    const scale = r * CELLS;
    for (let i = first; i < end; i++)
      if (isSplit || cells[(values[i]! * scale + CELLS) | 0]! >= UNSURE)
        writeOne(base + i, fround(values[i]! * r), codes);
  };
  return {
    writeOne,
    writeBlocks(blocks, codes) {
      const isSplit = isPacked && blocks.blockSize % 2 !== 0;
      const writeAll = isSplit ? writeNone : isPacked ? writePairs : writeBytes;
      writeAll(blocks, cells, codes, (first, end, r) =>
        writeRest(blocks, first, end, r, codes, isSplit),
      );
    },
  };
}

/** Writes the codes of sure cells, and zero elsewhere; `rest` is called for blocks with others. */
type WriteCodes = (
  blocks: WholeBlocks,
  cells: Uint16Array,
  codes: Uint8Array,
  rest: (first: number, end: number, reciprocal: number) => void,
) => void;

const reciprocalOf = (absmax: number): number => Math.fround(1 / Math.max(absmax, TINY));

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

/** Two codes a byte. */
const writePairs: WriteCodes = ({ values, blockSize, count, base, absmax }, cells, codes, rest) => {
  let at = base >> 1;
  for (let n = 0, first = 0; n < count; n++, first += blockSize) {
    const reciprocal = reciprocalOf(absmax[base / blockSize + n]!);
    // The product of two float32 numbers is exact in float64, and stays so times a power of two.
    const scale = reciprocal * CELLS;
    const end = first + blockSize;
    let seen = 0;
    for (let i = first; i < end; i += 2) {
      const high = cells[(values[i]! * scale + CELLS) | 0]!;
      const low = cells[(values[i + 1]! * scale + CELLS) | 0]!;
      seen |= high | low;
      codes[at++] = (high << 4) | low;
    }
    if (seen >= UNSURE) rest(first, end, reciprocal);
  }
};

/** A byte a code. */
const writeBytes: WriteCodes = ({ values, blockSize, count, base, absmax }, cells, codes, rest) => {
  for (let n = 0, first = 0; n < count; n++, first += blockSize) {
    const reciprocal = reciprocalOf(absmax[base / blockSize + n]!);
    const scale = reciprocal * CELLS;
    const end = first + blockSize;
    let seen = 0;
    for (let i = first; i < end; i++) {
      const code = cells[(values[i]! * scale + CELLS) | 0]!;
      seen |= code;
      codes[base + i] = code;
    }
    if (seen >= UNSURE) rest(first, end, reciprocal);
  }
};

const writeNone: WriteCodes = ({ blockSize, count, base, absmax }, _cells, _codes, rest) => {
  for (let n = 0, first = 0; n < count; n++, first += blockSize)
    rest(first, first + blockSize, reciprocalOf(absmax[base / blockSize + n]!));
};

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
