/**
 * sum_i w_i t_i, element by element: task arithmetic, where t_i is what training i added to a
 * tensor.
 *
 * @param tensors all of one length
 * @param weights one for each; may be negative
 * @see arXiv:2212.04089 (Ilharco et al.)
 */
export function weightedSum(
  tensors: readonly Float64Array[],
  weights: readonly number[],
): Float64Array {
  const out = new Float64Array(tensors[0]!.length);
  tensors.forEach((tensor, t) => {
    for (let i = 0; i < out.length; i++) out[i]! += weights[t]! * tensor[i]!;
  });
  return out;
}
