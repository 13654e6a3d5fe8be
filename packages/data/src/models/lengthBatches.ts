/**
 * Places 0..n-1 in batches of similar lengths, the longest first: little padding, and memory that
 * does not suffice shows at once. Equal lengths keep their order.
 */
export function lengthBatches(lengths: readonly number[], batchSize: number): number[][] {
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const batches: number[][] = [];
  for (let at = 0; at < order.length; at += batchSize)
    batches.push(order.slice(at, at + batchSize));
  return batches;
}
