import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepMiddle } from '../arithmetic/sparsifiers.js';
import { share, taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod, perModel } from '../contract/mergeMethod.js';

const parameters = {
  ...taskVectorParameters({ normalize: false, rescale: false }),
  /** Share of the largest magnitudes that is dropped. Default 0.01. */
  gamma: perModel(share().default(0.01)),
};

/**
 * Task vectors thinned out as in `breadcrumbs`, then signs elected as in `ties`.
 *
 * Defaults: density 1, gamma 0.01, `normalize` and `rescale` false, lambda 1.
 *
 * @see arXiv:2312.06795 (Davari and Belilovsky, "Model Breadcrumbs"), arXiv:2306.01708 (TIES)
 */
export const breadcrumbsTies = defineMergeMethod({
  name: 'breadcrumbs_ties',
  title: 'Model Breadcrumbs with TIES',
  reference: 'arXiv:2312.06795',
  base: 'required',
  parameters,
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      {
        ...values,
        sparsifier: keepMiddle(group, values.density, values.gamma, arithmetic),
        elect: true,
      },
      arithmetic,
    ),
});
