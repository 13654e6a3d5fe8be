/** Indices of the values by falling magnitude; equal ones in their order. */
export const byMagnitude = (tensor: Float64Array): Uint32Array =>
  Uint32Array.from(tensor, (_, i) => i).sort(
    (a, b) => Math.abs(tensor[b]!) - Math.abs(tensor[a]!) || a - b,
  );

/** The tensor with all values but those at `indices` set to 0. */
function keepOnly(tensor: Float64Array, indices: Uint32Array): Float64Array {
  const out = new Float64Array(tensor.length);
  for (const i of indices) out[i] = tensor[i]!;
  return out;
}

/**
 * Keeps the `count` values of largest magnitude and sets the others to 0; of equal ones the first
 * stay.
 */
export const keepLargest = (tensor: Float64Array, count: number): Float64Array =>
  keepOnly(tensor, byMagnitude(tensor).subarray(0, count));

/**
 * Keeps the floor(density n) values of largest magnitude, as TIES trims.
 *
 * @param density share of values that are kept, 0 to 1; from 1 on the tensor itself is given back
 * @see arXiv:2306.01708 (Yadav et al.), section 4.1
 */
export const pruneByMagnitude = (tensor: Float64Array, density: number): Float64Array =>
  density >= 1 ? tensor : keepLargest(tensor, Math.floor(density * tensor.length));

/**
 * Breadcrumbs: leaves out the floor(gamma n) values of largest magnitude, and keeps the
 * floor(density n) that come next. Where they are more than there are, those of largest magnitude
 * make up for it.
 *
 * @param density share of values that are kept, 0 to 1
 * @param gamma share of outliers. mergekit's default 0.01
 * @see arXiv:2312.06795 (Davari, Belilovsky)
 */
export function pruneOutliers(tensor: Float64Array, density: number, gamma: number): Float64Array {
  const kept = Math.floor(density * tensor.length);
  const first = Math.min(Math.floor(gamma * tensor.length), tensor.length - kept);
  return keepOnly(tensor, byMagnitude(tensor).subarray(first, first + kept));
}

/** sum |t_i| */
const l1 = (tensor: Float64Array): number =>
  tensor.reduce((sum, value) => sum + Math.abs(value), 0);

/** Below this a sum of magnitudes counts as 0: mergekit's limit. */
const NOTHING = 1e-7;

/**
 * Scales what pruning left so that its sum of magnitudes is that of the whole: pruned |whole| /
 * |pruned|, norms being L1. mergekit's `rescale`. Where one of the sums is below 1e-7, `pruned` is
 * given back.
 */
export function rescaleToL1(pruned: Float64Array, whole: Float64Array): Float64Array {
  const [left, all] = [l1(pruned), l1(whole)];
  if (left < NOTHING || all < NOTHING) return pruned;
  return pruned.map((value) => (value * all) / left);
}
