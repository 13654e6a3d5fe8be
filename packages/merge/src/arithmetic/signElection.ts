import { bitsOf } from './taskVectors.js';

/** What is elected. All arrays have one length. */
export interface Election {
  /** One for each model. */
  readonly deltas: readonly Float32Array[];
  /** What is added up of a model that agrees. Default: its delta. */
  readonly values?: readonly Float32Array[];
  readonly weights: readonly number[];
  /** Memory for the sum of all deltas. */
  readonly sum: Float32Array;
  /** Out: sum of the values of those that agree. */
  readonly mixed: Float32Array;
  /** Out: sum of the weights of those that agree; null: not needed. */
  readonly divisor: Float32Array | null;
}

/**
 * TIES' election: an element's sign is that of the sum of all deltas (0 counts as +), and those
 * that have it are added up. What is 0 never has it.
 */
export function electSigns(election: Election): void {
  const { deltas, values = deltas, weights, sum, mixed, divisor } = election;
  addUp(deltas, sum);
  mixed.fill(0);
  divisor?.fill(0);
  for (const [k, delta] of deltas.entries())
    if (divisor) addAgreeing(delta, sum, values[k]!, weights[k]!, mixed, divisor);
    else addAgreeingValues(delta, sum, values[k]!, mixed);
}

/** sum = all deltas, one after the other: float32, as torch adds them up. */
export function addUp(deltas: readonly Float32Array[], sum: Float32Array): void {
  sum.set(deltas[0]!);
  for (const delta of deltas.slice(1))
    for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + delta[i]!;
}

// `agrees` is 1 where two numbers have one sign and the first isn't 0, by their bits: a branch
// would be a coin toss. A sum of -0 needs no care: then all deltas are 0.

function addAgreeing(
  delta: Float32Array,
  sum: Float32Array,
  value: Float32Array,
  weight: number,
  mixed: Float32Array,
  divisor: Float32Array,
): void {
  const bits = bitsOf(delta);
  const signs = bitsOf(sum);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    const agrees = (~(word ^ signs[i]!) & -(word & 0x7fffffff)) >>> 31;
    mixed[i] = mixed[i]! + agrees * value[i]!;
    divisor[i] = divisor[i]! + agrees * weight;
  }
}

function addAgreeingValues(
  delta: Float32Array,
  sum: Float32Array,
  value: Float32Array,
  mixed: Float32Array,
): void {
  const bits = bitsOf(delta);
  const signs = bitsOf(sum);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    const agrees = (~(word ^ signs[i]!) & -(word & 0x7fffffff)) >>> 31;
    mixed[i] = mixed[i]! + agrees * value[i]!;
  }
}
