import type { MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import { findBands, keepBand, type RankRange } from './magnitudeBand.js';
import { MagnitudeRanks } from './magnitudeRanks.js';
import { keepBelow, type RandomThinning } from './randomThinning.js';
import { roundings } from './rounding.js';
import { bitsOf, passOverTaskVectors, type Visit } from './taskVectors.js';

/** Thins out a task vector, piece by piece from its beginning. */
export interface Thinning {
  /** Sets to 0 what is dropped. */
  readonly apply: Visit;
  /** What `apply` draws: for loops that do more at once. */
  readonly random?: RandomThinning;
}

/** How task vectors are thinned out. */
export interface Sparsifier {
  /** Null: nothing of the model is dropped. A second call starts again, and drops the same. */
  start(model: number): Thinning | null;
  /** What its norms are rounded to. */
  readonly dtype: MergeArithmetic['dtype'];
}

/**
 * Keeps the largest magnitudes of each model: max(1, int(density n)) of n. Where several are equal
 * at the cut, the first in order stay (in mergekit any).
 */
export function keepLargest(
  group: MergeGroup,
  densities: readonly number[],
  { dtype }: MergeArithmetic,
): Sparsifier {
  const n = group.length;
  return keepRanks(
    group,
    densities.map((density) => {
      if (density >= 1) return null;
      const kept = density > 0 ? Math.max(1, Math.trunc(density * n)) : 0;
      return { from: n - kept, to: n };
    }),
    dtype,
  );
}

/**
 * Drops int(gamma n) of the largest magnitudes, and as many of the smallest that int(density n)
 * stay; fewer of the largest, where there are not so many left.
 */
export function keepMiddle(
  group: MergeGroup,
  densities: readonly number[],
  gammas: readonly number[],
  { dtype }: MergeArithmetic,
): Sparsifier {
  const n = group.length;
  return keepRanks(
    group,
    densities.map((density, k) => {
      if (density >= 1) return null;
      const kept = Math.trunc(density * n);
      const from = Math.max(0, n - kept - Math.trunc(gammas[k]! * n));
      return { from, to: from + kept };
    }),
    dtype,
  );
}

function keepRanks(
  group: MergeGroup,
  ranks: readonly (RankRange | null)[],
  dtype: MergeArithmetic['dtype'],
): Sparsifier {
  const pass = (visitors: readonly (Visit | null)[]) => passOverTaskVectors(group, dtype, visitors);
  const bands = findBands(group, pass, ranks);
  return { dtype, start: (k) => (bands[k] ? { apply: keepBand(bands[k]) } : null) };
}

/** torch draws for float16 in float32. */
const drawnIn = (dtype: MergeArithmetic['dtype']) => (dtype === 'float16' ? 'float32' : dtype);

/** Keeps each element with probability `density`, by the random numbers of the model's stream. */
export function keepRandom(
  group: MergeGroup,
  densities: readonly number[],
  { dtype, random }: MergeArithmetic,
): Sparsifier {
  const round = roundings[drawnIn(dtype)];
  const memory = group.scratch(group.numModels);
  return {
    dtype: drawnIn(dtype),
    start: (k) => {
      if (densities[k]! >= 1) return null;
      const fill = random(k);
      const density = Float32Array.of(round(densities[k]!));
      const bound = bitsOf(density)[0]!;
      const draw = (length: number) => {
        const uniforms = memory(k, length);
        fill(uniforms);
        return bitsOf(uniforms);
      };
      return {
        apply: (delta) => keepBelow(bitsOf(delta), draw(delta.length), bound),
        random: { draw, bound },
      };
    },
  };
}

/**
 * DELLA's MagPrune: keeps an element with a probability that rises with its rank by magnitude from
 * density - epsilon to density + epsilon. Ranks are those along the second axis (in a matrix: of a
 * row), of a vector along all of it; where that has one element its probability is `density`.
 */
export function keepByRank(
  group: MergeGroup,
  densities: readonly number[],
  epsilons: readonly number[],
  { dtype, random }: MergeArithmetic,
): Sparsifier {
  const { shape, length } = group;
  const ranked = shape.length < 2 ? length : shape[1]!;
  const stride = shape.slice(2).reduce((a, b) => a * b, 1);
  const memory = group.scratch(1);
  return {
    dtype: drawnIn(dtype),
    start: (k) => {
      const density = densities[k]!;
      if (density >= 1) return null;
      if (density <= 0) return { apply: (delta) => void delta.fill(0) };
      const fill = random(k);
      const bounds = bitsOf(
        keepProbabilities(ranked, density, epsilons[k]!, roundings[drawnIn(dtype)]),
      );
      const ranks = new MagnitudeRanks(ranked);
      const magnitudes = new Int32Array(ranked);
      const apply = (delta: Float32Array) => {
        const uniforms = memory(0, delta.length);
        fill(uniforms);
        const bits = bitsOf(delta);
        const drawn = bitsOf(uniforms);
        for (let block = 0; block < bits.length; block += ranked * stride)
          for (let start = block; start < block + stride; start++) {
            for (let j = 0; j < ranked; j++) magnitudes[j] = bits[start + j * stride]! & 0x7fffffff;
            const order = ranks.order(magnitudes);
            for (let rank = 0; rank < ranked; rank++) {
              const i = start + order[rank]! * stride;
              bits[i] = bits[i]! & ((drawn[i]! - bounds[rank]!) >> 31);
            }
          }
      };
      return { apply };
    },
  };
}

/** Probability by rank, ascending: density - epsilon + 2 epsilon (rank - min) / (max - min). */
export function keepProbabilities(
  count: number,
  density: number,
  epsilon: number,
  round: (value: number) => number,
): Float32Array {
  if (count === 1) return Float32Array.of(round(density));
  const numbered = (rank: number) => round(round(rank) + 1);
  const span = round(numbered(count - 1) - 1);
  return Float32Array.from({ length: count }, (_, rank) => {
    const share = Math.min(1, round(round(numbered(rank) - 1) / span));
    const above = round(round(share * 2) * Math.fround(epsilon));
    return round(Math.fround(density - epsilon) + above);
  });
}
