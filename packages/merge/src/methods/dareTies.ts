import { mergeTaskVectors } from '../arithmetic/mergeTaskVectors.js';
import { keepRandom } from '../arithmetic/sparsifiers.js';
import { taskVectorParameters } from '../arithmetic/taskVectorParameters.js';
import { defineMergeMethod } from '../contract/mergeMethod.js';

const parameters = taskVectorParameters({ normalize: false, rescale: true });

/**
 * Task vectors thinned out at random as in `dare_linear`, then signs elected as in `ties`:
 * base + lambda sum_agree w_k s_k m_k (x_k - base).
 *
 * Defaults: density 1, `rescale` true (equal L1 norm), `normalize` false (true divides by the sum
 * of the weights that agree), lambda 1.
 *
 * @see arXiv:2311.03099 (Yu et al., "Language models are Super Mario"), arXiv:2306.01708 (TIES)
 */
export const dareTies = defineMergeMethod({
  name: 'dare_ties',
  title: 'DARE TIES',
  reference: 'arXiv:2311.03099',
  base: 'required',
  parameters,
  merge: (group, values, arithmetic) =>
    mergeTaskVectors(
      group,
      { ...values, sparsifier: keepRandom(group, values.density, arithmetic), elect: true },
      arithmetic,
    ),
});
