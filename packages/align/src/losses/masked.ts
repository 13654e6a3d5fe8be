/** Added to the variance by {@link maskedWhiten}, as in TRL. */
const EPSILON = 1e-8;

/** 1 where a number counts, 0 where it does not; as long as the numbers. */
type Mask = ArrayLike<number>;

/** sum(m x) / sum(m), float64; NaN where the mask is empty. */
export function maskedMean(values: ArrayLike<number>, mask: Mask): number {
  let [sum, count] = [0, 0];
  for (let i = 0; i < values.length; i++)
    if (mask[i]) {
      sum += values[i]!;
      count++;
    }
  return sum / count;
}

/**
 * Variance of what the mask has, float64: over n - 1, as TRL's; 0 for a single number, of which TRL
 * makes NaN.
 */
export function maskedVar(values: ArrayLike<number>, mask: Mask): number {
  const mean = maskedMean(values, mask);
  let [sum, count] = [0, 0];
  for (let i = 0; i < values.length; i++)
    if (mask[i]) {
      sum += (values[i]! - mean) ** 2;
      count++;
    }
  return count === 1 ? 0 : sum / (count - 1);
}

/**
 * (x - mean) / sqrt(var + 1e-8) of what the mask has, and 0 elsewhere. With `shiftMean` false the
 * mean stays, and only the scale changes (rewards); default true.
 */
export function maskedWhiten(
  values: ArrayLike<number>,
  mask: Mask,
  { shiftMean = true }: { readonly shiftMean?: boolean } = {},
): Float64Array {
  const mean = maskedMean(values, mask);
  const scale = 1 / Math.sqrt(maskedVar(values, mask) + EPSILON);
  const whitened = (value: number) => (value - mean) * scale + (shiftMean ? 0 : mean);
  return Float64Array.from(values, (value, i) => (mask[i] ? whitened(value) : 0));
}
