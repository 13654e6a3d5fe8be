import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { checkWeightSum, taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod } from '../contract/mergeMethod.js';

const parameters = taskVectorParameters({ normalize: false, rescale: false });

/**
 * base + lambda sum_k w_k (x_k - base). Defaults: lambda 1, `normalize` false; with it the sum is
 * divided by sum_k w_k, which must not be 0. `density` and `rescale` are read and have no effect,
 * as in mergekit.
 *
 * @see arXiv:2212.04089 (Ilharco et al., "Editing models with task arithmetic")
 */
export const taskArithmetic = defineMergeMethod({
  name: 'task_arithmetic',
  title: 'Task Arithmetic',
  reference: 'arXiv:2212.04089',
  base: 'required',
  parameters,
  check: (values) => checkWeightSum(values),
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(group, { ...values, sparsifier: null, elect: false }, arithmetic),
});
