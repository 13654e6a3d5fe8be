import { z } from 'zod';
import { offsetsOf } from '../arithmetic/offsets.js';
import {
  addProducts,
  alongFirst,
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
  type MergeChunk,
  type MergeGroup,
  perModel,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** t = w_2 / (w_1 + w_2); 0.5 where they add up to 0. */
  weight: perModel(z.number()),
  /** Vectors run along the first axis instead of the last. No effect with `nuslerpFlatten`. */
  nuslerpRowWise: shared(z.boolean().default(false)),
  /** Each tensor is one vector. Default true. */
  nuslerpFlatten: shared(z.boolean().default(true)),
};

const SMALLEST_NORM = 1e-7;
/** 1 - cos^2 up to which two vectors are parallel or opposite. */
const COLINEAR = 1e-16;

/** What the vectors are made of: the result of vector v is (a[v] x + b[v] y) / divisor[v]. */
interface Coefficients {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly divisor: Float64Array;
}

type Vectors = (chunk: MergeChunk) => readonly Float32Array[];

/**
 * Spherical interpolation of two models x, y with t from their weights: of whole tensors, or of
 * each row or column by itself; with a base, of the differences from it.
 *
 *     theta = angle between x and y
 *     (sin((1 - t) theta) x + sin(t theta) y) / sin(theta)  [+ base]
 *
 * Where x and y are parallel or opposite (the cosine rounds to 1 or -1), (1 - t) x + t y. Norms are
 * at least 1e-7, so smaller vectors are less parallel than they are. mergekit sums in the dtype of
 * the inputs, and so may miss opposite vectors, where the two formulas differ.
 *
 * @see Shoemake, "Animating rotation with quaternion curves", 1985
 */
export const nuslerp = defineMergeMethod({
  name: 'nuslerp',
  title: 'NuSLERP',
  reference: 'doi:10.1145/325165.325242',
  base: 'optional',
  models: { min: 2, max: 2 },
  parameters,
  merge: (group, { weight, nuslerpRowWise, nuslerpFlatten }, arithmetic) => {
    const total = weight[0]! + weight[1]!;
    const t = Math.abs(total) < 1e-6 ? 0.5 : weight[1]! / total;
    const layout = (nuslerpFlatten ? wholeTensor : nuslerpRowWise ? alongFirst : alongLast)(group);
    const vectors = offsetsOf(group, arithmetic);
    const cosines = cosinesOf(group, layout, vectors, arithmetic);
    const coefficients = coefficientsOf(t, cosines, arithmetic);
    return arithmetic.dtype === 'float32'
      ? inFloat32(group, layout, coefficients)
      : stepByStep(layout, vectors, coefficients, arithmetic);
  },
});

/** Cosines between the vectors of the two models. */
function cosinesOf(
  group: MergeGroup,
  layout: VectorLayout,
  vectors: Vectors,
  { dtype, round }: MergeArithmetic,
): Float64Array {
  const [xx, yy, xy] = [0, 1, 2].map(() => new Float64Array(layout.count));
  const isFloat32 = dtype === 'float32';
  for (const chunk of group.chunks()) {
    const [x, y] = vectors(chunk);
    addProducts(layout, chunk.start, x!, x!, xx!);
    addProducts(layout, chunk.start, y!, y!, yy!);
    if (isFloat32) addProducts(layout, chunk.start, x!, y!, xy!);
  }
  const least = round(SMALLEST_NORM);
  const [xNorms, yNorms] = [xx!, yy!].map((squares) =>
    squares.map((square) =>
      Math.max(isFloat32 ? Math.sqrt(square) : round(Math.sqrt(square)), least),
    ),
  );
  // Units and their products are rounded there, so they are needed one by one.
  if (!isFloat32)
    for (const chunk of group.chunks()) {
      const [x, y] = vectors(chunk);
      for (let i = 0; i < chunk.length; i++) {
        const v = vectorOf(layout, chunk.start + i);
        xy![v]! += round(round(x![i]! / xNorms![v]!) * round(y![i]! / yNorms![v]!));
      }
    }
  return xy!.map((sum, v) => {
    const cosine = isFloat32 ? sum / (xNorms![v]! * yNorms![v]!) : round(sum);
    return Math.max(-1, Math.min(1, cosine));
  });
}

function coefficientsOf(
  t: number,
  cosines: Float64Array,
  { dtype, round }: MergeArithmetic,
): Coefficients {
  const held = dtype === 'float32' ? (value: number) => value : round;
  const [p, q] = [Math.fround(1 - t), Math.fround(t)];
  const [a, b, divisor] = [0, 1, 2].map(() => new Float64Array(cosines.length));
  cosines.forEach((cosine, v) => {
    const rounded = round(cosine);
    const isColinear = round(1 - round(rounded * rounded)) <= COLINEAR;
    const theta = held(Math.acos(cosine));
    a![v] = isColinear ? p : held(Math.sin(held(p * theta)));
    b![v] = isColinear ? q : held(Math.sin(held(q * theta)));
    divisor![v] = isColinear ? 1 : held(Math.sin(theta));
  });
  return { a: a!, b: b!, divisor: divisor! };
}

function inFloat32(group: MergeGroup, layout: VectorLayout, coefficients: Coefficients): Combine {
  const { a, b, divisor } = coefficients;
  const divided = [a, b].map((cs) => cs.map((c, v) => c / divisor[v]!));
  return combineModels(group, layout, divided);
}

/** Each operation is rounded, as it is where tensors have 16 bits. */
function stepByStep(
  layout: VectorLayout,
  vectors: Vectors,
  { a, b, divisor }: Coefficients,
  { round }: MergeArithmetic,
): Combine {
  return (chunk, out) => {
    const [x, y] = vectors(chunk);
    for (let i = 0; i < out.length; i++) {
      const v = vectorOf(layout, chunk.start + i);
      const sum = round(round(a[v]! * x![i]!) + round(b[v]! * y![i]!));
      const result = round(sum / divisor[v]!);
      out[i] = chunk.base ? round(chunk.base[i]! + result) : result;
    }
  };
}
