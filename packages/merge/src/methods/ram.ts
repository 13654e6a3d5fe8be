import { z } from 'zod';
import { addShared } from '../arithmetic/sharedDeltas.js';
import { defineMergeMethod, shared } from '../contract/mergeMethod.js';

const parameters = {
  /** A model changes an element where |x_k - base| is above it. Default 1e-5. */
  epsilon: shared(z.number().min(0).default(1e-5)),
};

/**
 * base + sum_k delta_k / count: changes delta_k = x_k - base that are not above epsilon are 0, and
 * `count` is the number of models that change the element. What one model alone changes stays
 * whole.
 *
 * @see arXiv:2601.13572 (reinforced agent merging)
 */
export const ram = defineMergeMethod({
  name: 'ram',
  title: 'Reinforced Agent Merging',
  reference: 'arXiv:2601.13572',
  base: 'required',
  parameters,
  merge: (group, { epsilon }, { dtype }) => {
    const scales = new Array<number>(group.numModels).fill(1);
    return addShared(group, scales, epsilon, dtype, true);
  },
});
