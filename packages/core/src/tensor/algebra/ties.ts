/** How TIES elects the sign of an element: by the sum of the values, or by counting their signs. */
export type MajoritySignMethod = 'total' | 'frequency';

/**
 * The sign of each element that most of the tensors are for: sgn(sum_i t_i) or sgn(sum_i sgn(t_i));
 * where they balance, +1.
 *
 * @param tensors all of one length. The paper and PEFT elect before weights apply, mergekit after:
 *   give it w_i t_i
 * @returns 1 or -1 for each element
 * @see arXiv:2306.01708 (Yadav et al.), section 4.1
 */
export function electSigns(
  tensors: readonly Float64Array[],
  method: MajoritySignMethod,
): Int8Array {
  const out = new Int8Array(tensors[0]!.length);
  for (let i = 0; i < out.length; i++) {
    let votes = 0;
    for (const tensor of tensors) votes += method === 'total' ? tensor[i]! : Math.sign(tensor[i]!);
    out[i] = votes >= 0 ? 1 : -1;
  }
  return out;
}

export interface DisjointMergeOptions {
  /** w_i, which the values are multiplied by. */
  readonly weights: readonly number[];
  /**
   * d_i, whose sum over those that agree the result is divided by: 1 for all is the mean of the
   * paper and of PEFT; the weights are mergekit's `normalize`. Where that sum is 0, nothing is
   * divided. null: it is never.
   */
  readonly divisors: readonly number[] | null;
}

/**
 * In each element the tensors whose sign was elected, A: sum_A w_i t_i / sum_A d_i. Zeros agree
 * with neither sign.
 *
 * @param signs of each element, as `electSigns` gives them
 * @see arXiv:2306.01708 (Yadav et al.), section 4.1
 */
export function mergeAgreeing(
  tensors: readonly Float64Array[],
  signs: Int8Array,
  { weights, divisors }: DisjointMergeOptions,
): Float64Array {
  const out = new Float64Array(signs.length);
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    let divisor = 0;
    tensors.forEach((tensor, t) => {
      if (Math.sign(tensor[i]!) !== signs[i]) return;
      sum += weights[t]! * tensor[i]!;
      divisor += divisors?.[t] ?? 0;
    });
    out[i] = sum / (divisor || 1);
  }
  return out;
}
