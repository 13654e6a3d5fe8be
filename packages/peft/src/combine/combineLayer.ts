import type { HostTensorData } from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import { Rng } from '@attune/core/util';
import { type Combination, combine } from './combine.js';
import type { CombinationPlan } from './planCombination.js';

/** One adapter's factors on one layer. */
export interface LoraFactors {
  /** [r, in] */
  readonly a: algebra.OwnDense;
  /** [out, r] */
  readonly b: algebra.OwnDense;
  /** What B A is multiplied by. */
  readonly scaling: number;
  readonly weight: number;
  /** Share of its values that is kept. */
  readonly density: number;
}

/**
 * The factors of the new adapter on one layer, with scale 1.
 *
 * @param path of the layer, which separates random masks
 */
export function combineLayer(
  factors: readonly LoraFactors[],
  plan: CombinationPlan,
  path: string,
): algebra.LowRank {
  const { type, rank, majoritySignMethod, seed } = plan;
  const densities = factors.map(({ density }) => density);
  const rng = new Rng(seed, streamOf(path));
  if (plan.peftCompat) {
    const roots = factors.map(({ weight, scaling }) => weight * scaling);
    const half = (side: 'a' | 'b', weights: readonly number[]) => ({
      rows: factors[0]![side].rows,
      columns: factors[0]![side].columns,
      data: combine(
        type as Combination,
        factors.map((f) => f[side].data),
        weights,
        { densities, majoritySignMethod, rng },
      ),
    });
    return {
      a: half(
        'a',
        roots.map((w) => Math.sign(w) * Math.sqrt(Math.abs(w))),
      ),
      b: half(
        'b',
        roots.map((w) => Math.sqrt(Math.abs(w))),
      ),
    };
  }
  if (type === 'svd' || type === 'cat' || type === 'linear') {
    const { left, right } = sideBySide(factors);
    return rank >= left.columns
      ? { a: right, b: left }
      : algebra.truncatedSvdOfProduct(left, right, rank);
  }
  const { rows } = factors[0]!.b;
  const { columns } = factors[0]!.a;
  const deltas = factors.map(({ a, b, scaling }) =>
    algebra.product(b, a).data.map((value) => value * scaling),
  );
  const data = combine(
    type,
    deltas,
    factors.map(({ weight }) => weight),
    { densities, majoritySignMethod, rng },
  );
  return algebra.truncatedSvd({ rows, columns, data }, rank);
}

/**
 * A random stream for each layer by its path (FNV-1a over 'dare' and its letters): files do not say
 * in which order a model has its layers.
 */
function streamOf(path: string): number {
  let hash = 0x64617265; // 'dare'
  for (let i = 0; i < path.length; i++)
    hash = Math.imul(hash ^ path.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** [B_1 ... B_n] and [w_1 s_1 A_1; ...; w_n s_n A_n]: their product is the weighted sum. */
function sideBySide(factors: readonly LoraFactors[]): {
  readonly left: algebra.OwnDense;
  readonly right: algebra.OwnDense;
} {
  const rank = factors.reduce((sum, { a }) => sum + a.rows, 0);
  const { rows } = factors[0]!.b;
  const { columns } = factors[0]!.a;
  const left = { rows, columns: rank, data: new Float64Array(rows * rank) };
  const right = { rows: rank, columns, data: new Float64Array(rank * columns) };
  let at = 0;
  for (const { a, b, weight, scaling } of factors) {
    for (let row = 0; row < rows; row++)
      left.data.set(b.data.subarray(row * b.columns, (row + 1) * b.columns), row * rank + at);
    right.data.set(
      a.data.map((value) => value * (weight * scaling)),
      at * columns,
    );
    at += a.rows;
  }
  return { left, right };
}

/**
 * A factor as a tensor of a file, filled up with zeros to `rank`: a layer that fewer adapters have.
 */
export function paddedFactor(
  name: string,
  { rows, columns, data }: algebra.Dense,
  rank: number,
  side: 'a' | 'b',
): HostTensorData {
  const shape = side === 'a' ? [rank, columns] : [rows, rank];
  const out = new Float32Array(shape[0]! * shape[1]!);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[i * shape[1]! + j] = data[i * columns + j]!;
  return { name, dtype: 'float32', shape, data: out };
}
