import { z } from 'zod';
import { roundAll } from '../arithmetic/products.js';
import { combineInputs } from '../arithmetic/vectorLayout.js';
import { defineMergeMethod, perInput, shared } from '../contract/mergeMethod.js';

const parameters = {
  /** w_i. The base is one more input, and needs a weight too. */
  weight: perInput(z.number()),
  /** Whether the weights are divided by their sum. Default true. */
  normalize: shared(z.boolean().default(true)),
};

/**
 * Weighted mean: sum_i w_i x_i / sum_i w_i; without `normalize`, sum_i w_i x_i. In float32 whatever
 * the inputs are, rounded once.
 *
 * @see arXiv:2203.05482 (Wortsman et al., "Model soups")
 */
export const linear = defineMergeMethod({
  name: 'linear',
  title: 'Linear',
  reference: 'arXiv:2203.05482',
  base: 'ignored',
  parameters,
  check: ({ weight, normalize }) => {
    const sum = weight.reduce((a, b) => a + b, 0);
    return normalize && Math.abs(sum) < 1e-8
      ? `the weights ${weight.join(', ')} add up to ${sum}, by which the result would be divided`
      : null;
  },
  merge: (group, { weight, normalize }, arithmetic) => {
    const weights = weight.map(Math.fround);
    const divisor = normalize ? weights.reduce((a, b) => Math.fround(a + b), 0) : 1;
    if (arithmetic.dtype === 'float32')
      return combineInputs(
        group,
        weights.map((w) => w / divisor),
      );
    return ({ inputs }, out) => {
      out.fill(0);
      // Sums are float32 there, and rounded to 16 bits in the end.
      inputs.forEach((input, k) => {
        const w = weights[k]!;
        for (let i = 0; i < out.length; i++) out[i] = out[i]! + w * input[i]!;
      });
      for (let i = 0; i < out.length; i++) out[i] = out[i]! / divisor;
      roundAll(out, arithmetic);
    };
  },
});
