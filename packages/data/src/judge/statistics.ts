import { Rng } from '@attune/core/util';

/** A number with the interval that its true value is believed in. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/**
 * z with P(|Z| < z) = confidence for a standard normal Z, by bisection of the error function's
 * integral: 1.95996 for 0.95.
 */
export function normalQuantile(confidence: number): number {
  let low = 0;
  let high = 40;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (probabilityWithin(middle) < confidence) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * P(|Z| < z) = sqrt(2/pi) e^(-z^2/2) (z + z^3/3 + z^5/(3*5) + ...), Abramowitz and Stegun 26.2.11.
 */
function probabilityWithin(z: number): number {
  if (z > 9) return 1;
  let term = z;
  let sum = z;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (z * z) / (2 * n + 1);
    sum += term;
  }
  return Math.sqrt(2 / Math.PI) * Math.exp((-z * z) / 2) * sum;
}

/**
 * A share with Wilson's interval, (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
 *
 * @returns null for no observations
 * @see Wilson, "Probable inference, the law of succession, and statistical inference", 1927
 */
export function wilson(count: number, total: number, confidence: number): Estimate | null {
  if (total === 0) return null;
  const z = normalQuantile(confidence);
  const p = count / total;
  const scale = 1 + z ** 2 / total;
  const middle = (p + z ** 2 / (2 * total)) / scale;
  const half = (z * Math.sqrt((p * (1 - p)) / total + z ** 2 / (4 * total ** 2))) / scale;
  return {
    value: p,
    low: count === 0 ? 0 : middle - half,
    high: count === total ? 1 : middle + half,
  };
}

/**
 * The exact two-sided sign test: how likely `wins` or something as far from the half is, were wins
 * and losses equally likely. For two answers to each question it is McNemar's exact test.
 */
export function signTest(wins: number, losses: number): number {
  const n = wins + losses;
  const few = Math.min(wins, losses);
  // log C(n, k) - n log 2, from k = 0 on.
  let log = -n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= few; k++) {
    tail += Math.exp(log);
    log += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * tail);
}

/** Numbers that a bootstrap draws by default. */
const RESAMPLES = 2000;

/**
 * A mean with its percentile bootstrap interval: values are drawn again with replacement, 2,000
 * times.
 *
 * @returns null for no values
 */
export function bootstrapMean(
  values: readonly number[],
  { confidence, seed }: { readonly confidence: number; readonly seed: number },
): Estimate | null {
  const n = values.length;
  if (n === 0) return null;
  const rng = new Rng(seed, 0x626f6f74); // 'boot'
  const means = Float64Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[rng.below(n)]!;
    return sum / n;
  }).sort();
  const at = (share: number) =>
    means[Math.min(RESAMPLES - 1, Math.max(0, Math.round(share * (RESAMPLES - 1))))]!;
  return {
    value: values.reduce((sum, value) => sum + value, 0) / n,
    low: at((1 - confidence) / 2),
    high: at((1 + confidence) / 2),
  };
}

/**
 * Cohen's kappa of two judges, (p_o - p_e) / (1 - p_e): 1 for the same words everywhere, 0 for what
 * chance gives. null where nothing was judged, or both gave one and the same word always.
 */
export function cohenKappa(one: readonly string[], other: readonly string[]): number | null {
  const n = one.length;
  const share = (words: readonly string[], word: string) =>
    words.filter((each) => each === word).length / n;
  const observed = one.filter((word, i) => word === other[i]).length / n;
  const expected = [...new Set([...one, ...other])].reduce(
    (sum, word) => sum + share(one, word) * share(other, word),
    0,
  );
  return n === 0 || expected === 1 ? null : (observed - expected) / (1 - expected);
}

/**
 * Fleiss' kappa of any number of judges.
 *
 * @param rows the words of all judges about each item; the same number of them everywhere
 * @returns null where nothing was judged, or all gave one word always
 * @see Fleiss, "Measuring nominal scale agreement among many raters", 1971
 */
export function fleissKappa(rows: readonly (readonly string[])[]): number | null {
  const raters = rows[0]?.length ?? 0;
  if (rows.length === 0 || raters < 2) return null;
  const totals = new Map<string, number>();
  let observed = 0;
  for (const row of rows) {
    const counts = new Map<string, number>();
    for (const word of row) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
      totals.set(word, (totals.get(word) ?? 0) + 1);
    }
    let pairs = 0;
    for (const count of counts.values()) pairs += count * (count - 1);
    observed += pairs / (raters * (raters - 1));
  }
  observed /= rows.length;
  let expected = 0;
  for (const total of totals.values()) expected += (total / (rows.length * raters)) ** 2;
  return expected === 1 ? null : (observed - expected) / (1 - expected);
}
