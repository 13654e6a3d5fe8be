import { inTwo } from './inTwo.js';
import type { L1Norms } from './l1Norm.js';

/** Which elements of a task vector stay: those whose number lies below a bound. */
export interface RandomThinning {
  /** The bits of the next uniform numbers, in memory that the next call uses again. */
  draw(length: number): Int32Array;
  /** The bits of the density. */
  readonly bound: number;
}

/** A model's piece, and what its task vector is multiplied by: first by `scale`. */
export interface Weighed {
  readonly model: Float32Array;
  readonly scale: number;
  readonly weight: number;
  readonly random: RandomThinning;
}

// Numbers that aren't negative order as their bits do: a difference is negative for what stays. No
// branches, each would be a coin toss.

export function keepBelow(bits: Int32Array, drawn: Int32Array, bound: number): void {
  for (let i = 0; i < bits.length; i++) bits[i] = bits[i]! & ((drawn[i]! - bound) >> 31);
}

/** Adds up the magnitudes of model - base, and of what stays of it. */
export function measureKept(
  model: Float32Array,
  base: Float32Array,
  { draw, bound }: RandomThinning,
  norms: L1Norms,
): void {
  const drawn = draw(model.length);
  inTwo(model.length, (from, to) => measureBelow(model, base, drawn, bound, norms, from, to));
}

function measureBelow(
  model: Float32Array,
  base: Float32Array,
  drawn: Int32Array,
  bound: number,
  norms: L1Norms,
  from: number,
  to: number,
): void {
  let { whole, kept } = norms;
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(Math.fround(model[i]! - base[i]!));
    whole += magnitude;
    kept -= magnitude * ((drawn[i]! - bound) >> 31);
  }
  norms.whole = whole;
  norms.kept = kept;
}

/** All that is done to a model in float32, in one loop: subtract, thin out, scale, weigh. */
export function weighKept(
  { model, scale, weight, random }: Weighed,
  base: Float32Array,
  into: Float32Array,
): void {
  weighBelow(model, base, scale, weight, random.draw(into.length), random.bound, into);
}

function weighBelow(
  model: Float32Array,
  base: Float32Array,
  scale: number,
  weight: number,
  drawn: Int32Array,
  bound: number,
  into: Float32Array,
): void {
  for (let i = 0; i < into.length; i++) {
    const kept = Math.fround(model[i]! - base[i]!) * -((drawn[i]! - bound) >> 31);
    into[i] = Math.fround(kept * scale) * weight;
  }
}

/**
 * The merge of two models in float32 by election, without a divisor, onto the base: one loop in the
 * place of seven. Two of one sign, or beside a 0, are added up; of two others the one with the
 * sum's sign stays, which is + for 0.
 */
export function electKeptPair(a: Weighed, b: Weighed, base: Float32Array, out: Float32Array): void {
  const { length } = out;
  const [first, second] = [a.random.draw(length), b.random.draw(length)];
  electPairBelow(a, b, base, first, second, out);
}

function electPairBelow(
  a: Weighed,
  b: Weighed,
  base: Float32Array,
  firstDrawn: Int32Array,
  secondDrawn: Int32Array,
  out: Float32Array,
): void {
  const { model: first, scale: firstScale, weight: firstWeight } = a;
  const { model: second, scale: secondScale, weight: secondWeight } = b;
  const { bound: firstBound } = a.random;
  const { bound: secondBound } = b.random;
  for (let i = 0; i < out.length; i++) {
    const from = base[i]!;
    const firstKept = Math.fround(first[i]! - from) * -((firstDrawn[i]! - firstBound) >> 31);
    const secondKept = Math.fround(second[i]! - from) * -((secondDrawn[i]! - secondBound) >> 31);
    const x = Math.fround(Math.fround(firstKept * firstScale) * firstWeight);
    const y = Math.fround(Math.fround(secondKept * secondScale) * secondWeight);
    let sum = Math.fround(x + y);
    // Rare where most is dropped, so a branch is cheap.
    if (x * y < 0) sum = sum >= 0 === x > y ? x : y;
    out[i] = from + sum;
  }
}
