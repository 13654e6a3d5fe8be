import type { MergeGroup } from '../contract/mergeMethod.js';
import { bitsOf, type Visit } from './taskVectors.js';

/**
 * Magnitudes between two cuts: those above `low` and below `high`, and of those equal to a cut the
 * first ones in order. A magnitude is the bits of |x| as float32, which order as the numbers do.
 */
export interface MagnitudeBand {
  readonly low: number;
  /** How many that are equal to `low` are in it. */
  readonly atLow: number;
  readonly high: number;
  readonly atHigh: number;
}

/** Ranks in ascending order of magnitude, `[from, to)`. */
export interface RankRange {
  readonly from: number;
  readonly to: number;
}

const MAGNITUDE = 0x7fffffff;
const NOTHING: MagnitudeBand = { low: MAGNITUDE, atLow: 0, high: MAGNITUDE, atHigh: 0 };

/** Reads a pass of values. */
type Pass = (visitors: readonly (Visit | null)[]) => void;

/**
 * The bands that hold given ranks, exactly, without sorting: two passes count magnitudes by their
 * high 15 bits, then by the low 16 of those that share a cut's high ones.
 *
 * @param ranks of each row of values that the pass reads; null: not asked for
 */
export function findBands(
  { length, scratch }: Pick<MergeGroup, 'length' | 'scratch'>,
  pass: Pass,
  ranks: readonly (RankRange | null)[],
): (MagnitudeBand | null)[] {
  const tables = scratch(3 * ranks.length);
  const table = (k: number, size: number) => bitsOf(tables(k, size)).fill(0);
  const coarse = ranks.map((range, k) => range && table(3 * k, 2 ** 15));
  pass(coarse.map((counts) => counts && ((values) => countHigh(values, counts))));
  const cuts = ranks.map((range, k) => {
    if (!range || range.to <= range.from) return [];
    return [range.from, range.to]
      .filter((rank) => rank < length)
      .map((rank, i) => ({
        ...bucketOf(rank, coarse[k]!),
        rank,
        fine: table(3 * k + 1 + i, 2 ** 16),
      }));
  });
  pass(
    cuts.map((ofRow) =>
      ofRow.length === 0
        ? null
        : (values) => {
            for (const { bucket, fine } of ofRow) countLow(values, bucket, fine);
          },
    ),
  );
  return ranks.map((range, k) => {
    if (!range) return null;
    const [low, high] = cuts[k]!.map(({ rank, bucket, below, fine }) => {
      const inside = bucketOf(rank - below, fine);
      return {
        magnitude: bucket * 2 ** 16 + inside.bucket,
        below: below + inside.below,
        equal: fine[inside.bucket]!,
      };
    });
    if (!low) return NOTHING;
    if (high?.magnitude === low.magnitude)
      return {
        low: low.magnitude,
        atLow: range.to - range.from,
        high: low.magnitude,
        atHigh: 0,
      };
    return {
      low: low.magnitude,
      atLow: low.below + low.equal - range.from,
      high: high?.magnitude ?? MAGNITUDE,
      atHigh: high ? range.to - high.below : 0,
    };
  });
}

/** Sets all to 0 that is not in the band. Pieces must come in order, each once. */
export function keepBand(band: MagnitudeBand): Visit {
  const left = { low: band.atLow, high: band.atHigh };
  return (values) => keepBetween(bitsOf(values), band.low, band.high, left);
}

/** @param left how many that are equal to a cut still stay */
function keepBetween(
  bits: Int32Array,
  low: number,
  high: number,
  left: { low: number; high: number },
): void {
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    const magnitude = word & MAGNITUDE;
    if (magnitude === low) {
      if (--left.low < 0) bits[i] = 0;
    } else if (magnitude === high) {
      if (--left.high < 0) bits[i] = 0;
    }
    // No branch: which side of a cut a number lies on is a coin toss.
    else bits[i] = word & (((low - magnitude) & (magnitude - high)) >> 31);
  }
}

function countHigh(values: Float32Array, counts: Int32Array): void {
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) {
    const bucket = (bits[i]! & MAGNITUDE) >>> 16;
    counts[bucket] = counts[bucket]! + 1;
  }
}

function countLow(values: Float32Array, bucket: number, counts: Int32Array): void {
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    if ((word & MAGNITUDE) >>> 16 !== bucket) continue;
    const low = word & 0xffff;
    counts[low] = counts[low]! + 1;
  }
}

/** Which bucket holds a rank, and how many lie in those before it. */
function bucketOf(rank: number, counts: Int32Array): { bucket: number; below: number } {
  let below = 0;
  let bucket = 0;
  while (below + counts[bucket]! <= rank) below += counts[bucket++]!;
  return { bucket, below };
}
