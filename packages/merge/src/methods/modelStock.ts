import { z } from 'zod';
import { offsetsOf } from '../arithmetic/offsets.js';
import {
  addProducts,
  alongLast,
  combineModels,
  type VectorLayout,
  vectorOf,
  wholeTensor,
} from '../arithmetic/vectorLayout.js';
import {
  type Combine,
  defineMergeMethod,
  type MergeArithmetic,
  type MergeGroup,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** Each row has a ratio of its own. Default false: the whole tensor has one. */
  filterWise: shared(z.boolean().default(false)),
};

const SMALLEST_PRODUCT = 1e-6;
const SINGULAR = 1e-6;

/**
 * Between the base and the mean of k fine-tuned models, the nearer to the mean the more their
 * differences from the base agree:
 *
 *     cos = mean over pairs of cos(x_j - base, x_k - base)
 *     t = k cos / (1 + (k - 1) cos)
 *     t mean(x) + (1 - t) base
 *
 * Products of norms are at least 1e-6. Where the differences cancel (|1 + (k - 1) cos| < 1e-6) the
 * base stays.
 *
 * @see arXiv:2403.19522 (Jang et al., "Model Stock")
 */
export const modelStock = defineMergeMethod({
  name: 'model_stock',
  title: 'Model Stock',
  reference: 'arXiv:2403.19522',
  base: 'required',
  inputs: { min: 3 },
  parameters,
  merge: (group, { filterWise }, arithmetic) => {
    const layout = (filterWise ? alongLast : wholeTensor)(group);
    const k = group.numModels;
    const ratios = ratiosOf(group, layout, arithmetic);
    return arithmetic.dtype === 'float32'
      ? combineModels(group, layout, new Array(k).fill(ratios.map((t) => t / k)))
      : stepByStep(layout, ratios, k, arithmetic);
  },
});

/** t of each vector. */
function ratiosOf(
  group: MergeGroup,
  layout: VectorLayout,
  arithmetic: MergeArithmetic,
): Float64Array {
  const { dtype, round } = arithmetic;
  const isFloat32 = dtype === 'float32';
  const held = isFloat32 ? (value: number) => value : round;
  const k = group.numModels;
  const pairs = Array.from({ length: k }, (_, a) => a).flatMap((a) =>
    Array.from({ length: k - a - 1 }, (_, b) => [a, a + b + 1] as const),
  );
  const sums = () => new Float64Array(layout.count);
  const squares = Array.from({ length: k }, sums);
  const products = pairs.map(sums);
  const offsets = offsetsOf(group, arithmetic);
  for (const chunk of group.chunks()) {
    const x = offsets(chunk);
    x.forEach((a, j) => {
      addProducts(layout, chunk.start, a, a, squares[j]!);
    });
    pairs.forEach(([a, b], j) => {
      if (isFloat32) addProducts(layout, chunk.start, x[a]!, x[b]!, products[j]!);
      else
        for (let i = 0; i < chunk.length; i++)
          products[j]![vectorOf(layout, chunk.start + i)]! += round(x[a]![i]! * x[b]![i]!);
    });
  }
  return sums().map((_, v) => {
    const norms = squares.map((square) => held(Math.sqrt(square[v]!)));
    const cosines = pairs.map(([a, b], j) => {
      const divisor = Math.max(held(norms[a]! * norms[b]!), held(SMALLEST_PRODUCT));
      return Math.max(-1, Math.min(1, held(held(products[j]![v]!) / divisor)));
    });
    const cosine = held(cosines.reduce((a, b) => a + b) / pairs.length);
    const divisor = held(1 + held((k - 1) * cosine));
    return Math.abs(divisor) < SINGULAR ? 0 : held(held(k * cosine) / divisor);
  });
}

/** Each operation is rounded, as it is where tensors have 16 bits. */
function stepByStep(
  layout: VectorLayout,
  ratios: Float64Array,
  k: number,
  { round }: MergeArithmetic,
): Combine {
  return ({ start, base, models }, out) => {
    for (let i = 0; i < out.length; i++) {
      let sum = models[0]![i]!;
      for (let j = 1; j < k; j++) sum = round(sum + models[j]![i]!);
      const t = ratios[vectorOf(layout, start + i)]!;
      out[i] = round(round(t * round(sum / k)) + round(round(1 - t) * base![i]!));
    }
  };
}
