import { z } from 'zod';
import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepByRank } from '../arithmetic/sparsifiers.js';
import {
  checkEpsilon,
  checkWeightSum,
  taskVectorParameters,
} from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod, perModel } from '../contract/mergeMethod.js';

const parameters = {
  ...taskVectorParameters({ normalize: false, rescale: true }),
  /** How far probabilities go from `density`, staying between 0 and 1. Default 0.15. */
  epsilon: perModel(z.number().min(0).default(0.15)),
};

/**
 * Task vectors thinned out as in `della`, without an election: base + lambda sum_k w_k s_k m_k
 * (x_k - base).
 *
 * Defaults: density 1, epsilon 0.15, `rescale` true, `normalize` false, lambda 1.
 *
 * @see arXiv:2406.11617 (Deep et al., "DELLA-Merging")
 */
export const dellaLinear = defineMergeMethod({
  name: 'della_linear',
  title: 'Linear DELLA',
  reference: 'arXiv:2406.11617',
  base: 'required',
  chunks: 'slices',
  parameters,
  check: (values) => checkWeightSum(values) ?? checkEpsilon(values.density, values.epsilon),
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      {
        ...values,
        sparsifier: keepByRank(group, values.density, values.epsilon, arithmetic),
        elect: false,
      },
      arithmetic,
    ),
});
