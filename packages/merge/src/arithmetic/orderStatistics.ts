/** Gives all values, in arrays of any length, to `take`; the same ones each time. */
export type ValuePass = (take: (values: Float32Array) => void) => void;

const HALF = 2 ** 16;

/**
 * Values that stand at these places when all are sorted, without sorting them. The bits of a
 * float32 order as it does, so two histograms find each exactly, in two passes: one of the upper 16
 * bits, and one of the lower 16 within a bin.
 *
 * @param places from 0, in any order, each below the number of values
 */
export function orderStatistics(pass: ValuePass, places: readonly number[]): number[] {
  const upper = new Uint32Array(HALF);
  pass((values) => {
    const bits = bitsOf(values);
    for (let i = 0; i < bits.length; i++) upper[sortable(bits[i]!) >>> 16]!++;
  });
  const found = places.map((place) => binOf(upper, place));
  const lower = new Map(found.map(({ bin }) => [bin, new Uint32Array(HALF)]));
  // Which histogram a bin has, by number: a look-up in an array costs less than one in a map.
  const histogramOf = new Uint8Array(HALF);
  const histograms = [...lower.values()];
  for (const [n, bin] of [...lower.keys()].entries()) histogramOf[bin] = n + 1;
  pass((values) => {
    const bits = bitsOf(values);
    for (let i = 0; i < bits.length; i++) {
      const key = sortable(bits[i]!);
      const n = histogramOf[key >>> 16]!;
      if (n) histograms[n - 1]![key & 0xffff]!++;
    }
  });
  return found.map(({ bin, before }) => {
    const { bin: low } = binOf(lower.get(bin)!, before);
    return floatOf(bin * HALF + low);
  });
}

const bitsOf = (values: Float32Array): Int32Array =>
  new Int32Array(values.buffer, values.byteOffset, values.length);

/** Unsigned integers that order as the floats do: of negative ones all bits turn, else the sign. */
const sortable = (bits: number): number => (bits < 0 ? ~bits : bits ^ 0x80000000) >>> 0;

function floatOf(key: number): number {
  const bits = key >= 0x80000000 ? key ^ 0x80000000 : ~key;
  return new Float32Array(Int32Array.of(bits).buffer)[0]!;
}

/** The bin in which a place falls, and how many of that bin stand before it. */
function binOf(
  counts: Uint32Array,
  place: number,
): { readonly bin: number; readonly before: number } {
  let before = place;
  let bin = 0;
  while (before >= counts[bin]!) before -= counts[bin++]!;
  return { bin, before };
}
