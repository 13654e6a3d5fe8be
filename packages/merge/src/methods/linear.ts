import { z } from 'zod';
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
  merge: (_group, { weight, normalize }) => {
    const weights = weight.map(Math.fround);
    const divisor = normalize ? weights.reduce((a, b) => Math.fround(a + b), 0) : 1;
    return ({ inputs }, out) => {
      out.fill(0);
      inputs.forEach((input, k) => {
        const w = weights[k]!;
        for (let i = 0; i < out.length; i++) out[i] = out[i]! + w * input[i]!;
      });
      if (divisor !== 1) for (let i = 0; i < out.length; i++) out[i] = out[i]! / divisor;
    };
  },
});
