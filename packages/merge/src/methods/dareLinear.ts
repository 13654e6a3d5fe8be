import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepRandom } from '../arithmetic/sparsifiers.js';
import { checkWeightSum, taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod } from '../contract/mergeMethod.js';

const parameters = taskVectorParameters({ normalize: false, rescale: true });

/**
 * base + lambda sum_k w_k s_k m_k (x_k - base), with masks m_k that keep an element with
 * probability `density`. s_k gives a masked task vector the L1 norm that it had (`rescale`); the
 * paper's is 1 / density, which it comes close to.
 *
 * Defaults: density 1, `rescale` true, `normalize` false, lambda 1. Masks depend on seed, tensor
 * and model.
 *
 * @see arXiv:2311.03099 (Yu et al., "Language models are Super Mario: absorbing abilities from
 *   homologous models as a free lunch")
 */
export const dareLinear = defineMergeMethod({
  name: 'dare_linear',
  title: 'Linear DARE',
  reference: 'arXiv:2311.03099',
  base: 'required',
  parameters,
  check: (values) => checkWeightSum(values),
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      { ...values, sparsifier: keepRandom(group, values.density, arithmetic), elect: false },
      arithmetic,
    ),
});
