import { definePlugin } from '@attune/core';
import { defineMergeMethod, MergeMethods, shared } from '@attune/merge';
import { z } from 'zod';

/** base + mean of the differences, none of them longer than `limit` times the base. */
export const clippedMean = defineMergeMethod({
  name: 'clipped_mean',
  title: 'Clipped mean',
  base: 'required',
  models: { min: 1 },
  parameters: {
    /** Longest difference, as a share of the norm of the base. */
    limit: shared(z.number().min(0).default(0.1)),
  },
  merge(group, { limit }) {
    // First pass: how long the base and each difference are. |x|^2 = sum of x_i^2.
    let baseSquared = 0;
    const squared = new Float64Array(group.numModels);
    for (const { base, models, length } of group.chunks()) {
      for (let i = 0; i < length; i++) baseSquared += base![i]! ** 2;
      models.forEach((model, k) => {
        let sum = 0;
        for (let i = 0; i < length; i++) sum += (model[i]! - base![i]!) ** 2;
        squared[k]! += sum;
      });
    }
    const longest = limit * Math.sqrt(baseSquared);
    const shares = squared.map((square) => {
      const norm = Math.sqrt(square);
      return (norm > longest ? longest / norm : 1) / group.numModels;
    });
    // Second pass: Attune calls this for every chunk, in order, and writes what is in `out`.
    return ({ base, models }, out) => {
      out.set(base!);
      models.forEach((model, k) => {
        const share = shares[k]!;
        for (let i = 0; i < out.length; i++) out[i] = out[i]! + share * (model[i]! - base![i]!);
      });
    };
  },
});

/** For `createAttune({ plugins: [merge(), clippedMeanPlugin()] })`. */
export const clippedMeanPlugin = () =>
  definePlugin({
    name: 'clipped-mean',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(MergeMethods, clippedMean),
  });
