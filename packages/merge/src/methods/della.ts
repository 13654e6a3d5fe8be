import { z } from 'zod';
import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepByRank } from '../arithmetic/sparsifiers.js';
import { checkEpsilon, taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod, perModel } from '../contract/mergeMethod.js';

const parameters = {
  ...taskVectorParameters({ normalize: true, rescale: true }),
  /** How far probabilities go from `density`, staying between 0 and 1. Default 0.15. */
  epsilon: perModel(z.number().min(0).default(0.15)),
};

/**
 * MagPrune: an element of a task vector is kept with a probability that rises with the rank of its
 * magnitude in its row, from density - epsilon to density + epsilon; the masked task vector gets
 * the L1 norm that it had (`rescale`). Then signs are elected as in `ties`.
 *
 * Defaults: density 1, epsilon 0.15, `rescale` true, `normalize` true, lambda 1. density - epsilon
 * and density + epsilon must lie between 0 and 1, but where density is 0 or 1. A tensor of three
 * and more dimensions has its ranks along the second, a vector is one row. A row of one element
 * keeps it with probability `density` (mergekit fails).
 *
 * @see arXiv:2406.11617 (Deep et al., "DELLA-Merging: reducing interference in model merging
 *   through magnitude-based sampling")
 */
export const della = defineMergeMethod({
  name: 'della',
  title: 'DELLA',
  reference: 'arXiv:2406.11617',
  base: 'required',
  chunks: 'slices',
  parameters,
  check: (values) => checkEpsilon(values.density, values.epsilon),
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      {
        ...values,
        sparsifier: keepByRank(group, values.density, values.epsilon, arithmetic),
        elect: true,
      },
      arithmetic,
    ),
});
