import { z } from 'zod';
import { addShared, readSharedDeltas } from '../arithmetic/sharedDeltas.js';
import {
  defineMergeMethod,
  type MergeArithmetic,
  type MergeGroup,
  shared,
} from '../contract/mergeMethod.js';

const parameters = {
  /** How much a model gains by what it shares. Default 0.1. */
  r: shared(z.number().default(0.1)),
  /** Bound of shared / unshared. Default 0.2. */
  alpha: shared(z.number().min(0).default(0.2)),
  /** A model changes an element where |x_k - base| is above it. Default 1e-5. */
  epsilon: shared(z.number().min(0).default(1e-5)),
};

/**
 * `ram`, with what model k alone changes times 1 + r clamp(shared_k / max(unshared_k, epsilon), 0,
 * alpha): numbers of elements of the tensor that it changes with others, and alone. Those factors
 * are float32, and so is the result, in any arithmetic.
 *
 * @see arXiv:2601.13572 (reinforced agent merging; tensor-local)
 */
export const ramplusTl = defineMergeMethod({
  name: 'ramplus_tl',
  title: 'Reinforced Agent Merging Plus (Tensor-Local)',
  reference: 'arXiv:2601.13572',
  base: 'required',
  parameters,
  merge: (group, { r, alpha, epsilon }, { dtype }) => {
    const scales = sharedShares(group, epsilon, dtype).map((share) =>
      Math.fround(1 + Math.fround(Math.fround(r) * Math.min(share, Math.fround(alpha)))),
    );
    return addShared(group, scales, epsilon, dtype, false);
  },
});

/** A model's share: elements that it changes with others over those that it changes alone. */
function sharedShares(
  group: MergeGroup,
  epsilon: number,
  dtype: MergeArithmetic['dtype'],
): number[] {
  const read = readSharedDeltas(group, epsilon, dtype);
  const sharedCounts = new Array<number>(group.numModels).fill(0);
  const uniqueCounts = new Array<number>(group.numModels).fill(0);
  for (const chunk of group.chunks()) {
    const { deltas, counts } = read(chunk);
    for (const [k, delta] of deltas.entries()) {
      let together = 0;
      let alone = 0;
      for (let i = 0; i < delta.length; i++)
        if (delta[i] !== 0) {
          if (counts[i] === 1) alone++;
          else together++;
        }
      sharedCounts[k] = sharedCounts[k]! + together;
      uniqueCounts[k] = uniqueCounts[k]! + alone;
    }
  }
  return sharedCounts.map((count, k) =>
    count === 0
      ? 0
      : Math.fround(
          Math.fround(count) / Math.max(Math.fround(uniqueCounts[k]!), Math.fround(epsilon)),
        ),
  );
}
