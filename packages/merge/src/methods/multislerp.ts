import { AttuneError } from '@attune/core';
import { z } from 'zod';
import { offsetsOf } from '../arithmetic/offsets.js';
import { dot, gramMatrix, quadratic } from '../arithmetic/products.js';
import { combineModels, wholeTensor } from '../arithmetic/vectorLayout.js';
import {
  type Combine,
  defineMergeMethod,
  type MergeArithmetic,
  type MergeChunk,
  type MergeGroup,
  perModel,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** w_k: how much the direction of a model counts. */
  weight: perModel(z.number()),
  /** Whether the weights are divided by their sum. Default true. */
  normalizeWeights: shared(z.boolean().default(true)),
  /** Added to norms; a mean direction shorter than it is none. Default 1e-8. */
  eps: shared(z.number().min(0).default(1e-8)),
};

/** A mean of unit vectors below this is what their rounding to float32 leaves. */
const ROUNDING = 1e-7;

type Vectors = (chunk: MergeChunk) => readonly Float32Array[];

interface Setting {
  readonly weight: readonly number[];
  readonly normalizeWeights: boolean;
  readonly eps: number;
}

/**
 * Weighted mean on the sphere, of any number of models; with a base, of the differences from it:
 *
 *     u_k = x_k / (|x_k| + eps)        m = sum_k w_k u_k
 *     cos(eps) sum_k w_k |x_k| * m / |m|   [+ base]
 *
 * It goes on from m / |m| along the weighted mean of the tangents towards the u_k. At this point
 * that mean is 0, so it is computed in 16 bits only, where its rounding shows.
 *
 * Two models whose directions cancel are interpolated linearly; more are an error. One model
 * stays as it is; zero tensors give 0. Directions that cancel but for rounding count as cancelling,
 * where mergekit scales that rounding up.
 *
 * @throws MERGE_DEGENERATE for three or more models whose weighted directions cancel
 * @see Goddard, "Multi-SLERP", goddard.blog/posts/multislerp-wow-what-a-cool-idea
 */
export const multislerp = defineMergeMethod({
  name: 'multislerp',
  title: 'Multi-SLERP',
  reference: 'https://goddard.blog/posts/multislerp-wow-what-a-cool-idea',
  base: 'optional',
  models: { min: 1 },
  parameters,
  check: ({ weight, normalizeWeights }) => {
    const sum = weight.reduce((a, b) => a + b, 0);
    return normalizeWeights && weight.length > 1 && Math.abs(sum) < 1e-8
      ? `the weights ${weight.join(', ')} add up to ${sum}, by which they would be divided`
      : null;
  },
  merge: (group, setting, arithmetic) => {
    if (group.numModels === 1) return ({ models }, out) => out.set(models[0]!);
    const vectors = offsetsOf(group, arithmetic);
    return arithmetic.dtype === 'float32'
      ? inFloat32(group, vectors, setting)
      : stepByStep(group, vectors, setting, arithmetic);
  },
});

/** The result is a weighted sum of the vectors; their products with each other give its weights. */
function inFloat32(group: MergeGroup, vectors: Vectors, setting: Setting): Combine {
  const { weight, normalizeWeights, eps } = setting;
  const gram = gramMatrix(group, group.numModels, vectors);
  const norms = gram.map((row, k) => Math.sqrt(row[k]!));
  const total = normalizeWeights ? weight.reduce((a, b) => a + b, 0) : 1;
  const weights = weight.map((w) => w / total);
  const mean = weights.map((w, k) => (norms[k] === 0 ? 0 : w / (norms[k]! + eps)));
  const length = Math.sqrt(Math.max(0, quadratic(mean, gram, mean)));
  const average = weights.reduce((sum, w, k) => sum + w * norms[k]!, 0);
  let coefficients = mean.map((c) => (c / length) * average * Math.cos(eps));
  if (length < Math.max(eps, ROUNDING)) {
    if (norms.length > 2 && norms.some((norm) => norm > 0)) throw cancelling(group);
    coefficients = weights;
  }
  return combineModels(
    group,
    wholeTensor(group),
    coefficients.map((c) => Float64Array.of(c)),
  );
}

/** Each operation is rounded, as it is where tensors have 16 bits. */
function stepByStep(
  group: MergeGroup,
  vectors: Vectors,
  setting: Setting,
  { round }: MergeArithmetic,
): Combine {
  const k = group.numModels;
  // torch rounds a number that is added to a tensor to the tensor's dtype, and a factor not.
  const eps = round(setting.eps);
  const given = setting.weight.map(round);
  const total = round(given.reduce((a, b) => a + b, 0));
  const weights = setting.normalizeWeights ? given.map((w) => round(w / total)) : given;

  const squares = new Array<number>(k).fill(0);
  for (const chunk of group.chunks())
    vectors(chunk).forEach((x, j) => {
      squares[j]! += dot(x, x);
    });
  const norms = squares.map((square) => round(Math.sqrt(square)));
  const divisors = norms.map((norm) => round(norm + eps));

  /** One element: its unit coordinates, and their weighted sum. */
  const units = new Float64Array(k);
  const meanAt = (x: readonly Float32Array[], i: number): number => {
    let sum = 0;
    for (let j = 0; j < k; j++) {
      // A zero vector has no direction; without eps it would be 0 / 0.
      units[j] = divisors[j] === 0 ? 0 : round(x[j]![i]! / divisors[j]!);
      sum += round(units[j]! * weights[j]!);
    }
    return round(sum);
  };
  const meanNorm = round(
    Math.sqrt(
      sumOver(group, vectors, (x, i) => {
        const m = meanAt(x, i);
        return m * m;
      }),
    ),
  );
  if (meanNorm < setting.eps || meanNorm === 0) {
    if (k > 2 && norms.some((norm) => norm > 0)) throw cancelling(group);
    return (chunk, out) => {
      const x = vectors(chunk);
      for (let i = 0; i < out.length; i++) {
        let sum = round(x[0]![i]! * weights[0]!);
        for (let j = 1; j < k; j++) sum = round(sum + round(x[j]![i]! * weights[j]!));
        out[i] = chunk.base ? round(sum + chunk.base[i]!) : sum;
      }
    };
  }

  const directionAt = (x: readonly Float32Array[], i: number) => round(meanAt(x, i) / meanNorm);
  const dots = new Float64Array(k);
  for (const chunk of group.chunks()) {
    const x = vectors(chunk);
    for (let i = 0; i < chunk.length; i++) {
      const m = directionAt(x, i);
      for (let j = 0; j < k; j++) dots[j]! += round(units[j]! * m);
    }
  }
  for (let j = 0; j < k; j++) dots[j] = round(dots[j]!);
  /** Uses the units that `directionAt` of the same element left. */
  const tangentAt = (m: number): number => {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += round(round(units[j]! - round(dots[j]! * m)) * weights[j]!);
    return round(sum);
  };
  const tangentSquared = sumOver(group, vectors, (x, i) => {
    const tangent = tangentAt(directionAt(x, i));
    return tangent * tangent;
  });
  const tangentNorm = round(round(Math.sqrt(tangentSquared)) + eps);
  const cosine = round(Math.cos(tangentNorm));
  const ratio = tangentNorm === 0 ? 1 : round(round(Math.sin(tangentNorm)) / tangentNorm);
  const average = round(weights.reduce((sum, w, j) => sum + round(norms[j]! * w), 0));
  return (chunk, out) => {
    const x = vectors(chunk);
    for (let i = 0; i < out.length; i++) {
      const m = directionAt(x, i);
      const moved = round(round(m * cosine) + round(tangentAt(m) * ratio));
      const result = round(moved * average);
      out[i] = chunk.base ? round(result + chunk.base[i]!) : result;
    }
  };
}

/** Sum of a number of each element. */
function sumOver(
  group: MergeGroup,
  vectors: Vectors,
  value: (x: readonly Float32Array[], i: number) => number,
): number {
  let sum = 0;
  for (const chunk of group.chunks()) {
    const x = vectors(chunk);
    for (let i = 0; i < chunk.length; i++) sum += value(x, i);
  }
  return sum;
}

const cancelling = ({ name }: MergeGroup): AttuneError =>
  new AttuneError(
    'MERGE_DEGENERATE',
    `multislerp: the weighted directions of the models cancel in ${name}, so they have no mean.`,
    { remedy: 'Give other weights, or merge with linear.' },
  );
