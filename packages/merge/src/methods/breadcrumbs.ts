import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepMiddle } from '../arithmetic/sparsifiers.js';
import { checkWeightSum, share, taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod, perModel } from '../contract/mergeMethod.js';

const parameters = {
  ...taskVectorParameters({ normalize: false, rescale: false }),
  /** Share of the largest magnitudes that is dropped. Default 0.01. */
  gamma: perModel(share().default(0.01)),
};

/**
 * base + lambda sum_k w_k m_k (x_k - base), where m_k drops the int(gamma n) largest magnitudes and
 * then as many of the smallest that int(density n) of n are left. Where density + gamma > 1 fewer
 * large ones are dropped.
 *
 * Defaults: density 1 (nothing is dropped, whatever gamma), gamma 0.01, `normalize` and `rescale`
 * false, lambda 1.
 *
 * @see arXiv:2312.06795 (Davari and Belilovsky, "Model Breadcrumbs: scaling multi-task model
 *   merging with sparse masks")
 */
export const breadcrumbs = defineMergeMethod({
  name: 'breadcrumbs',
  title: 'Model Breadcrumbs',
  reference: 'arXiv:2312.06795',
  base: 'required',
  parameters,
  check: (values) => checkWeightSum(values),
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      {
        ...values,
        sparsifier: keepMiddle(group, values.density, values.gamma, arithmetic),
        elect: false,
      },
      arithmetic,
    ),
});
