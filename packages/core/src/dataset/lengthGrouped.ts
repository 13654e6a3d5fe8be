/** Groups that are sorted together at most. */
const MOST_GROUPS = 50;

/**
 * An order in which examples of about the same length are in one update, so that little is padded:
 * the permutation is cut into megabatches of up to 50 groups (at least four megabatches, where
 * there are rows enough), each sorted from its longest example to its shortest. The longest of all
 * comes first, in place of the first, so that a batch too large for the memory shows at once.
 *
 * @param permutation of all examples: what the order draws its chance from
 * @param lengths of each example, in tokens
 * @param groupSize examples of an update
 * @see transformers `get_length_grouped_indices`
 */
export function lengthGroupedOrder(
  permutation: ArrayLike<number>,
  lengths: ArrayLike<number>,
  groupSize: number,
): number[] {
  const count = permutation.length;
  const groups = Math.max(1, Math.min(Math.floor(count / (groupSize * 4)), MOST_GROUPS));
  const size = groups * groupSize;
  const order: number[] = [];
  /** Where the longest example of all lies in the order. */
  let longest = 0;
  for (let start = 0; start < count; start += size) {
    const megabatch = Array.from(
      { length: Math.min(size, count - start) },
      (_, i) => permutation[start + i]!,
    ).sort((a, b) => lengths[b]! - lengths[a]!);
    for (const at of megabatch) order.push(at);
    if (lengths[order[start]!]! > lengths[order[longest]!]!) longest = start;
  }
  if (count > 0) [order[0], order[longest]] = [order[longest]!, order[0]!];
  return order;
}
