import { AttuneError } from '@attune/core';
import { algebra } from '@attune/core/tensor';
import type { Rng } from '@attune/core/util';
import type { LayerInfo } from '../../contract/layerInfo.js';
import type { ParamSpec } from '../../contract/paramSpec.js';
import { type StartFromBase, startsFromBase } from './start.js';

export type InitLoraWeights = boolean | 'gaussian' | 'orthogonal' | StartFromBase;

/**
 * What A or B is called in files, after the layer's path: an embedding has them as plain
 * parameters.
 */
export const factorKey = ({ embedding }: LayerInfo, side: 'A' | 'B'): string =>
  embedding ? `lora_embedding_${side}` : `lora_${side}.weight`;

/**
 * A [r, in] and B [out, r] before training. For an embedding, whose `in` is the size of its table,
 * A is 0 and B is N(0, 1) whatever `init` says, as in PEFT (false: both are N(0, 1)).
 *
 * @throws PEFT_RANK
 */
export function factorSpecs(
  layer: LayerInfo,
  init: InitLoraWeights,
  r: number,
): { readonly A: ParamSpec; readonly B: ParamSpec } {
  const { inFeatures, outFeatures } = layer;
  const spec = (side: 'A' | 'B', first: ParamSpec['init']): ParamSpec => ({
    shape: side === 'A' ? [r, inFeatures] : [outFeatures, r],
    init: first,
    key: factorKey(layer, side),
  });
  const random = init === false;
  if (layer.embedding)
    return { A: spec('A', random ? { normal: 1 } : 'zeros'), B: spec('B', { normal: 1 }) };
  if (init === 'orthogonal') {
    if (r % 2 !== 0)
      throw new AttuneError(
        'PEFT_RANK',
        `"orthogonal" halves the rank, and ${layer.path} has r = ${r}.`,
        { remedy: 'Give even ranks, in rankPattern too.' },
      );
    const draw = orthogonalPair(layer, r);
    return {
      A: spec('A', { values: (rng) => draw(rng).a }),
      B: spec('B', { values: (rng) => draw(rng).b }),
    };
  }
  const first = startsFromBase(init)
    ? 'zeros'
    : init === 'gaussian'
      ? { normal: 1 / r }
      : 'kaimingUniform';
  return { A: spec('A', first), B: spec('B', random ? 'kaimingUniform' : 'zeros') };
}

/**
 * @throws PEFT_RANK for a rank above both sizes of a layer, which is a mistake: any weight of it
 *   has at most the smaller
 */
export function refuseLargeRank(
  { path, inFeatures, outFeatures }: LayerInfo,
  { r }: { readonly r: number },
): void {
  if (r <= Math.max(inFeatures, outFeatures)) return;
  const most = Math.min(inFeatures, outFeatures);
  throw new AttuneError(
    'PEFT_RANK',
    `r is ${r}, and the weight of ${path} is [${outFeatures}, ${inFeatures}]: an update of it has no more than ${most} directions.`,
    {
      remedy: `Give an r of at most ${most}, e.g. 8; or a smaller one for this layer with rankPattern.`,
    },
  );
}

/**
 * A = Q_o^T X / 10 and B = Y Q_e / 10, with Q_o, Q_e the first, third, ... and the second, fourth,
 * ... rows of a random orthogonal Q [r, r], X [r/2, in] and Y [out, r/2] normal: neither is 0, and
 * B A = Y (Q_e Q_o^T) X = 0.
 *
 * @returns draws the pair with the first random numbers that it is given, and keeps it
 * @see https://datta0.github.io/posts/rethink-lora-init, PEFT's orthogonal_init
 */
function orthogonalPair({ inFeatures, outFeatures }: LayerInfo, r: number) {
  let pair: { readonly a: Float32Array; readonly b: Float32Array } | undefined;
  return (rng: Rng) => {
    if (pair) return pair;
    const normal = (rows: number, columns: number) => {
      const data = Float64Array.from({ length: rows * columns }, () => rng.normal());
      return { rows, columns, data };
    };
    const q = algebra.orthonormalColumns(normal(r, r));
    const every = (first: number) => {
      const rows = Array.from({ length: r / 2 }, (_, i) => first + 2 * i);
      const data = rows.flatMap((row) => [...q.data.subarray(row * r, (row + 1) * r)]);
      return { rows: r / 2, columns: r, data };
    };
    const a = algebra.product(algebra.transposed(every(0)), normal(r / 2, inFeatures));
    const b = algebra.product(normal(outFeatures, r / 2), every(1));
    const tenth = ({ data }: algebra.OwnDense) => Float32Array.from(data, (value) => value / 10);
    pair = { a: tenth(a), b: tenth(b) };
    return pair;
  };
}
