import { z } from 'zod';
import { addMagnitudes } from '../arithmetic/l1Norm.js';
import { findBands, keepBand } from '../arithmetic/magnitudeBand.js';
import { arrayRoundings, roundings } from '../arithmetic/rounding.js';
import { electSigns } from '../arithmetic/signElection.js';
import { share } from '../arithmetic/taskVectorParameters.js';
import { taskVector, type Visit } from '../arithmetic/taskVectors.js';
import { variance } from '../arithmetic/variance.js';
import {
  defineMergeMethod,
  type MergeArithmetic,
  type MergeChunk,
  type MergeGroup,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** Share of the elements on which the models differ that is kept. Default 1: all. */
  selectTopk: shared(share().default(1)),
  /** Read, and without effect: mergekit's way to save memory. */
  int8Mask: shared(z.boolean().default(false)),
};

/**
 * Select, calculate, erase. The elements whose variance over the task vectors delta_k = x_k - base
 * is largest stay, a share `selectTopk` of those where it isn't 0. A model's weight in a tensor is
 * its mean of delta_k^2 over the sum of all (equal ones where that is below 1e-6). Each element's
 * sign is that of sum_k delta_k: base + sum_agree w_k delta_k / max(sum_agree w_k, 1e-6).
 *
 * Defaults: selectTopk 1.
 *
 * @see arXiv:2408.07990 (Wan et al., "FuseChat: knowledge fusion of chat models")
 */
export const sce = defineMergeMethod({
  name: 'sce',
  title: 'SCE',
  reference: 'arXiv:2408.07990',
  base: 'required',
  parameters,
  merge: (group, { selectTopk }, { dtype }) => {
    if (group.numModels === 0) return ({ base }, out) => out.set(base!);
    const roundAll = arrayRoundings[dtype];
    const read = selectedTaskVectors(group, selectTopk, dtype);
    const weights = contributions(group, read(), dtype);
    const deltasOf = read();
    const memory = group.scratch(group.numModels + 2);
    const least = roundings[dtype](1e-6);
    return (chunk, out) => {
      const { length, base } = chunk;
      const deltas = deltasOf(chunk);
      const values = deltas.map((delta, k) => {
        const value = memory(k, length);
        for (let i = 0; i < length; i++) value[i] = delta[i]! * weights[k]!;
        roundAll(value);
        return value;
      });
      const sum = memory(weights.length, length);
      const divisor = memory(weights.length + 1, length);
      electSigns({ deltas, values, weights, sum, mixed: out, divisor });
      roundAll(out);
      roundAll(divisor);
      for (let i = 0; i < length; i++) out[i] = out[i]! / Math.max(divisor[i]!, least);
      roundAll(out);
      for (let i = 0; i < length; i++) out[i] = base![i]! + out[i]!;
      roundAll(out);
    };
  },
});

/** A pass over the pieces of all task vectors, 0 where nothing is selected. */
type Read = (chunk: MergeChunk) => readonly Float32Array[];

/** Finds what is selected. What it returns begins a pass. */
function selectedTaskVectors(
  group: MergeGroup,
  selectTopk: number,
  dtype: MergeArithmetic['dtype'],
): () => Read {
  const memory = group.scratch(group.numModels + 1);
  const deltasOf: Read = ({ models, base, length }) =>
    models.map((model, k) => {
      const delta = memory(k, length);
      taskVector(model, base!, delta, dtype);
      return delta;
    });
  if (selectTopk >= 1) return () => deltasOf;
  const variancesOf = (deltas: readonly Float32Array[]) => {
    const into = memory(group.numModels, deltas[0]!.length);
    variance(deltas, into, dtype);
    return into;
  };
  const pass = ([visit]: readonly (Visit | null)[]) => {
    if (visit) for (const chunk of group.chunks()) visit(variancesOf(deltasOf(chunk)));
  };
  let varied = 0;
  pass([
    (variances) => {
      for (let i = 0; i < variances.length; i++) if (variances[i] !== 0) varied++;
    },
  ]);
  // A product of float32 numbers, as a torch scalar times a Python float is.
  const kept = Math.trunc(Math.fround(Math.fround(varied) * Math.fround(selectTopk)));
  const { length } = group;
  const [band] = findBands(group, pass, [{ from: length - kept, to: length }]);
  return () => {
    const keep = keepBand(band!);
    return (chunk) => {
      const deltas = deltasOf(chunk);
      const variances = variancesOf(deltas);
      keep(variances);
      for (const delta of deltas)
        for (let i = 0; i < delta.length; i++) if (variances[i] === 0) delta[i] = 0;
      return deltas;
    };
  };
}

/** Weight of each model: its mean square over the sum of all. */
function contributions(
  group: MergeGroup,
  read: Read,
  dtype: MergeArithmetic['dtype'],
): readonly number[] {
  const round = roundings[dtype];
  const sums = new Array<number>(group.numModels).fill(0);
  const memory = group.scratch(1);
  for (const chunk of group.chunks())
    for (const [k, delta] of read(chunk).entries()) {
      const squares = memory(0, delta.length);
      for (let i = 0; i < squares.length; i++) squares[i] = delta[i]! * delta[i]!;
      arrayRoundings[dtype](squares);
      sums[k] = addMagnitudes(sums[k]!, squares);
    }
  const means = sums.map((sum) => round(Math.fround(sum) / group.length));
  const sum = round(means.reduce((a, b) => Math.fround(a + b), 0));
  return means.map((mean) => round(sum < 1e-6 ? 1 / means.length : mean / sum));
}
