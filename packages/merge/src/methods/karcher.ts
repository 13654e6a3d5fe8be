import { z } from 'zod';
import { dot, gramMatrix, quadratic } from '../arithmetic/products.js';
import { combineInputs } from '../arithmetic/vectorLayout.js';
import {
  type Combine,
  defineMergeMethod,
  type MergeArithmetic,
  type MergeGroup,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** Most steps. Default 10. */
  maxIter: shared(z.int().min(0).default(10)),
  /** Angles, steps and norms below it count as 0. Default 1e-5. */
  tol: shared(z.number().min(0).default(1e-5)),
};

/** 1 + cos of two unit vectors up to which they are opposite: the rounding of float32 inputs. */
const OPPOSITE = 1e-12;

interface Setting {
  readonly maxIter: number;
  readonly tol: number;
}

/**
 * Karcher mean: the point on the sphere whose squared angles to all inputs are least, times the
 * mean norm. The base is one more input; all count the same. From the normalised mean of the
 * directions u_k, in steps along the mean tangent, until it is shorter than `tol`:
 *
 *     v = 1/n sum_k theta_k / sin(theta_k) (u_k - cos(theta_k) m)       theta_k = angle(u_k, m)
 *     m <- cos(|v|) m + sin(|v|) v / |v|
 *
 * Tensors with a norm up to `tol` have no direction; they count in the mean norm alone. An input
 * opposite to m has no tangent, and is left out of that step. Inputs that cancel start from the
 * first.
 *
 * In float32 the iteration runs on coefficients, from products of the inputs, in float64. With 16
 * bits m is held as one tensor, since each step rounds it.
 *
 * @see arXiv:2603.04972
 */
export const karcher = defineMergeMethod({
  name: 'karcher',
  title: 'Karcher mean',
  reference: 'arXiv:2603.04972',
  base: 'ignored',
  parameters,
  merge: (group, setting, arithmetic) => {
    if (group.numInputs === 1) return ({ inputs }, out) => out.set(inputs[0]!);
    return arithmetic.dtype === 'float32'
      ? inFloat32(group, setting)
      : stepByStep(group, setting, arithmetic);
  },
});

const clampCosine = (value: number): number => Math.max(-1, Math.min(1, value));

/** m = sum_k c_k u_k: all that is needed of the u_k are their products. */
function inFloat32(group: MergeGroup, { maxIter, tol }: Setting): Combine {
  const n = group.numInputs;
  const products = gramMatrix(group, n, ({ inputs }) => inputs);
  const norms = products.map((row, k) => Math.sqrt(row[k]!));
  const valid = norms.flatMap((norm, k) => (norm > tol ? [k] : []));
  if (valid.length === 0) return (_chunk, out) => out.fill(0);
  const cosines = valid.map((j) =>
    Float64Array.from(valid, (k) => (j === k ? 1 : products[j]![k]! / (norms[j]! * norms[k]!))),
  );
  const lengthOf = (c: readonly number[]) => Math.sqrt(Math.max(0, quadratic(c, cosines, c)));

  const share = 1 / valid.length;
  const start = lengthOf(valid.map(() => share));
  let mean = valid.map((_, k) => (start < tol ? (k === 0 ? 1 : 0) : share / start));
  for (let step = 0; step < maxIter; step++) {
    const tangent = new Array<number>(valid.length).fill(0);
    for (const [k, row] of cosines.entries()) {
      const cosine = clampCosine(mean.reduce((sum, c, j) => sum + c * row[j]!, 0));
      const theta = Math.acos(cosine);
      if (theta < tol || 1 + cosine < OPPOSITE) continue;
      const pull = theta === 0 ? share : (share * theta) / Math.sin(theta);
      tangent[k]! += pull;
      for (const [j, c] of mean.entries()) tangent[j]! -= pull * cosine * c;
    }
    const length = lengthOf(tangent);
    if (length < tol || length === 0) break;
    const [along, aside] = [Math.cos(length), Math.sin(length) / length];
    mean = mean.map((c, k) => along * c + aside * tangent[k]!);
    const norm = lengthOf(mean);
    if (norm > tol) mean = mean.map((c) => c / norm);
  }

  const scale = norms.reduce((a, b) => a + b) / n;
  const coefficients = norms.map(() => 0);
  for (const [j, k] of valid.entries()) coefficients[k] = (scale * mean[j]!) / norms[k]!;
  return combineInputs(group, coefficients);
}

/** Each operation is rounded, as it is where tensors have 16 bits; norms are float32 there. */
function stepByStep(
  group: MergeGroup,
  { maxIter, tol }: Setting,
  { round }: MergeArithmetic,
): Combine {
  const n = group.numInputs;
  const squares = new Array<number>(n).fill(0);
  for (const { inputs } of group.chunks())
    inputs.forEach((x, k) => {
      squares[k]! += dot(x, x);
    });
  const norms = squares.map((square) => Math.fround(Math.sqrt(square)));
  const valid = norms.flatMap((norm, k) => (norm > tol ? [k] : []));
  if (valid.length === 0) return (_chunk, out) => out.fill(0);
  const share = Math.fround(1 / valid.length);

  const mean = new Float32Array(group.length);
  let squared = 0;
  /** Visits each element with the unit coordinates of the valid inputs. */
  const forEach = (visit: (element: number, units: Float64Array) => void): void => {
    const units = new Float64Array(valid.length);
    for (const { start, length, inputs } of group.chunks())
      for (let i = 0; i < length; i++) {
        for (let j = 0; j < valid.length; j++)
          units[j] = round(inputs[valid[j]!]![i]! / norms[valid[j]!]!);
        visit(start + i, units);
      }
  };
  const set = (element: number, value: number) => {
    mean[element] = value;
    squared += value * value;
  };
  const divideMean = (divisor: number) => {
    for (let i = 0; i < mean.length; i++) mean[i] = round(mean[i]! / divisor);
  };
  forEach((element, units) => {
    let sum = 0;
    for (const unit of units) sum = round(sum + round(share * unit));
    set(element, sum);
  });
  const start = Math.fround(Math.sqrt(squared));
  if (start >= tol) divideMean(start);
  else
    forEach((element, units) => {
      mean[element] = units[0]!;
    });

  for (let step = 0; step < maxIter; step++) {
    const dots = new Float64Array(valid.length);
    forEach((element, units) => {
      for (let j = 0; j < units.length; j++) dots[j]! += mean[element]! * units[j]!;
    });
    const cosines = dots.map((value) => clampCosine(round(value)));
    const pulls = cosines.map((cosine) => {
      const theta = round(Math.acos(cosine));
      return theta < tol ? 0 : round(share * round(theta / round(Math.sin(theta))));
    });
    const tangentAt = (element: number, units: Float64Array): number => {
      let tangent = 0;
      for (let j = 0; j < units.length; j++) {
        if (pulls[j] === 0) continue;
        const aside = round(units[j]! - round(cosines[j]! * mean[element]!));
        tangent = round(tangent + round(pulls[j]! * aside));
      }
      return tangent;
    };
    let tangentSquared = 0;
    forEach((element, units) => {
      tangentSquared += tangentAt(element, units) ** 2;
    });
    const length = Math.fround(Math.sqrt(tangentSquared));
    if (length < tol || length === 0) break;
    // torch rounds a scalar in front of a tensor to the tensor's dtype, and a divisor not.
    const [along, aside] = [round(Math.cos(length)), round(Math.sin(length))];
    squared = 0;
    forEach((element, units) => {
      const tangent = round(tangentAt(element, units) / length);
      set(element, round(round(along * mean[element]!) + round(aside * tangent)));
    });
    const norm = Math.fround(Math.sqrt(squared));
    if (norm > tol) divideMean(norm);
  }

  const scale = round(norms.reduce((sum, norm) => Math.fround(sum + Math.fround(norm / n)), 0));
  return ({ start: first, length }, out) => {
    for (let i = 0; i < length; i++) out[i] = round(scale * mean[first + i]!);
  };
}
