import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepLargest } from '../arithmetic/sparsifiers.js';
import { taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod } from '../contract/mergeMethod.js';

const parameters = taskVectorParameters({ normalize: true, rescale: false });

/**
 * Trim, elect, merge. The largest max(1, int(density n)) magnitudes of each task vector x_k - base
 * stay, times w_k; each element's sign is that of the sum of all (0 counts as +); those that agree
 * are added up and divided by the sum of their weights: base + lambda sum_agree w_k delta_k /
 * sum_agree w_k.
 *
 * Defaults: density 1, `normalize` true, `rescale` false, lambda 1. The paper elects before it
 * weighs, and takes a mean without weights. Where one model alone is not 0, `normalize` takes its
 * weight out again.
 *
 * @see arXiv:2306.01708 (Yadav et al., "TIES-Merging: resolving interference when merging models")
 */
export const ties = defineMergeMethod({
  name: 'ties',
  title: 'TIES',
  reference: 'arXiv:2306.01708',
  base: 'required',
  parameters,
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      { ...values, sparsifier: keepLargest(group, values.density, arithmetic), elect: true },
      arithmetic,
    ),
});
