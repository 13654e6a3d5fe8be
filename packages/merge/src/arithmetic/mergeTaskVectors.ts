import type { Combine, MergeArithmetic, MergeGroup } from '../contract/mergeMethod.js';
import { keptShares } from './keptShares.js';
import { l1Scales } from './l1Norm.js';
import { electKeptPair, type Weighed, weighKept } from './randomThinning.js';
import { arrayRoundings, roundings } from './rounding.js';
import { addUp, electSigns } from './signElection.js';
import type { Sparsifier } from './sparsifiers.js';
import { taskVector } from './taskVectors.js';

/** What the methods of task vectors have in common. */
export interface TaskVectorOptions {
  readonly weight: readonly number[];
  readonly lambda: number;
  readonly normalize: boolean;
  readonly rescale: boolean;
  /** null: task vectors stay whole. */
  readonly sparsifier: Sparsifier | null;
  /** Whether an element's sign is elected; else all are added up. */
  readonly elect: boolean;
}

/**
 * base + lambda sum_k w_k s_k sparsify(x_k - base), in this order, each step rounded: subtract,
 * sparsify, s_k (`rescale`: equal L1 norm), weight, elect and add up, divide by the sum of weights
 * (`normalize`; with `elect`, of those that agree, 1 where that is 0), lambda, base.
 */
export function mergeTaskVectors(
  group: MergeGroup,
  { weight, lambda, normalize, rescale, sparsifier, elect }: TaskVectorOptions,
  { dtype, kept }: MergeArithmetic,
): Combine {
  if (group.numModels === 0) return ({ base }, out) => out.set(base!);
  const round = roundings[dtype];
  const roundAll = arrayRoundings[dtype];
  const start = () => weight.map((_, k) => sparsifier?.start(k) ?? null);
  const scales =
    sparsifier && rescale
      ? l1Scales(group, start(), dtype, roundings[sparsifier.dtype])
      : weight.map(() => 1);
  if (sparsifier) kept?.(keptShares(group, start(), dtype));
  const thinnings = start();
  const weights = weight.map(round);
  const weightSum = round(weights.reduce((sum, w) => Math.fround(sum + w), 0));
  const memory = group.scratch(weights.length + 2);
  const isElected = elect && !normalize && lambda === 1;
  /** What one loop does at once; null: of a model that is not thinned out so, or in 16 bits. */
  const weighed = (model: Float32Array, k: number): Weighed | null => {
    const random = thinnings[k]?.random;
    if (!random || dtype !== 'float32') return null;
    return { model, scale: scales[k]!, weight: weights[k]!, random };
  };

  return ({ base, models, length }, out) => {
    const [first, second] = models.length === 2 && isElected ? models.map(weighed) : [];
    if (first && second) return electKeptPair(first, second, base!, out);
    const deltas = models.map((model, k) => {
      const delta = memory(k, length);
      const thinning = thinnings[k];
      const whole = weighed(model, k);
      if (whole) {
        weighKept(whole, base!, delta);
        return delta;
      }
      taskVector(model, base!, delta, dtype);
      thinning?.apply(delta);
      for (const factor of [scales[k]!, weights[k]!])
        if (factor !== 1) {
          multiply(delta, factor);
          roundAll(delta);
        }
      return delta;
    });
    if (elect) {
      const sum = memory(weights.length, length);
      const divisor = normalize ? memory(weights.length + 1, length) : null;
      electSigns({ deltas, weights, sum, mixed: out, divisor });
      roundAll(out);
      if (divisor) {
        roundAll(divisor);
        divide(out, divisor);
        roundAll(out);
      }
    } else {
      addUp(deltas, out);
      roundAll(out);
      if (normalize && Math.abs(weightSum) >= 1e-8) {
        divideBy(out, weightSum);
        roundAll(out);
      }
    }
    if (lambda !== 1) {
      multiply(out, Math.fround(lambda));
      roundAll(out);
    }
    add(out, base!);
    roundAll(out);
  };
}

// Functions of the module, not closures: each is compiled once.

function multiply(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! * factor;
}

function divideBy(values: Float32Array, divisor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! / divisor;
}

function divide(values: Float32Array, divisors: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! / (divisors[i]! || 1);
}

function add(values: Float32Array, more: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = more[i]! + values[i]!;
}
