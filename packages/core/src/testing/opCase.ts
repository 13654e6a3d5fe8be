import type { DType } from '../backend/dtype.js';
import type { Attrs } from '../backend/opCall.js';
import type { OpDef } from '../tensor/op.js';
import type { Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { Rng } from '../util/rng.js';

/** How far a result may lie from the reference: |got - expected| <= abs + rel * |expected|. */
export interface Tolerance {
  readonly abs: number;
  readonly rel: number;
}

/** Makes the `size` values of an operand. */
export type Draw = (rng: Rng, size: number) => ArrayLike<number>;

/** An operand of a case: its shape, its storage, how its numbers are drawn. */
export interface CaseOperand {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly draw: Draw;
}

/** One call of one op, with everything needed to run it on any backend and to judge the result. */
export interface OpCase {
  /** Unique: `<op>/<what is special>`. Also the seed of its data. */
  readonly name: string;
  readonly op: OpDef;
  readonly inputs: readonly CaseOperand[];
  /**
   * Tensors that the op updates in place, as they are before it. Their values after it are
   * compared.
   */
  readonly targets: readonly CaseOperand[];
  readonly attrs: Attrs;
  readonly tolerance: Tolerance;
  /** The tolerance of each output, where they differ. Default: `tolerance` for all. */
  readonly tolerances?: readonly Tolerance[];
  /** Whether element i of the outputs has a defined value. Default: all have. */
  readonly defined?: (i: number) => boolean;
  /**
   * Turns the drawn inputs into the op's operands where some follow from others (a log-sum-exp).
   */
  readonly derive?: (drawn: readonly Tensor[]) => readonly Tensor[];
}

interface CaseOptions {
  readonly tolerances?: readonly Tolerance[];
  readonly targets?: readonly CaseOperand[];
  readonly defined?: (i: number) => boolean;
  readonly derive?: (drawn: readonly Tensor[]) => readonly Tensor[];
}

/** A case of `op`, named `<op>/<name>`. */
export function opCase<A extends Attrs>(
  op: OpDef<A>,
  name: string,
  inputs: readonly CaseOperand[],
  attrs: NoInfer<A>,
  tolerance: Tolerance,
  options: CaseOptions = {},
): OpCase {
  return {
    name: `${op.name}/${name}`,
    op: op as unknown as OpDef,
    inputs,
    targets: options.targets ?? [],
    attrs,
    tolerance,
    ...(options.tolerances && { tolerances: options.tolerances }),
    ...(options.defined && { defined: options.defined }),
    ...(options.derive && { derive: options.derive }),
  };
}

/** The generator of one operand of one case: the same numbers on every run and every machine. */
export function caseRng(name: string, operand: number): Rng {
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < name.length; i++)
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return new Rng(hash, operand);
}

// Operands

const each =
  (value: (rng: Rng) => number): Draw =>
  (rng, size) =>
    Float64Array.from({ length: size }, () => value(rng));

/** Normal(0, deviation). */
export const normal = (deviation = 1): Draw => each((rng) => rng.normal() * deviation);
/** Uniform in [low, high). */
export const uniform = (low: number, high: number): Draw =>
  each((rng) => low + (high - low) * rng.uniform());
/** Integers 0..n-1. */
export const below = (n: number): Draw => each((rng) => rng.below(n));
/** Class labels 0..n-1, every third one -100: ignored. */
export const labels =
  (n: number): Draw =>
  (rng, size) =>
    Int32Array.from({ length: size }, (_, i) => (i % 3 === 2 ? -100 : rng.below(n)));
/** Exactly these values, again and again. */
export const values =
  (...given: readonly number[]): Draw =>
  (_, size) =>
    Float64Array.from({ length: size }, (_, i) => given[i % given.length]!);

/** An operand of any storage. */
export const operand = (dtype: DType, shape: Shape, draw: Draw = normal()): CaseOperand => ({
  dtype,
  shape,
  draw,
});
/** An operand of float32 numbers, by default drawn from a normal distribution. */
export const f32 = (shape: Shape, draw: Draw = normal()): CaseOperand =>
  operand('float32', shape, draw);
/** An operand of int32 numbers. */
export const i32 = (shape: Shape, draw: Draw): CaseOperand => operand('int32', shape, draw);

// Tolerances. Kernels compute in float32, unit roundoff u = 2^-24; one ulp of a result is at most
// 2u |result|.

const u = 2 ** -24;

/** Numbers that are moved, compared or chosen, not computed. */
export const exact: Tolerance = { abs: 0, rel: 0 };
/** A few roundings of the result: n ulp. Results below 1e-37 may be flushed to zero. */
export const ulps = (n: number): Tolerance => ({ abs: 1e-37, rel: 2 * n * u });
/**
 * A float32 kernel of several steps on numbers of size 1. WGSL promises
 * (3 + 2|x|) ulp for exp, 3 ulp or 2^-21 for log, 1e-5 for tanh; this has room for all of them.
 */
export const float32Kernel: Tolerance = { abs: 1e-5, rel: 1e-5 };
/**
 * A sum of n terms of size 1 and random sign. Added one after another, each step rounds a partial
 * sum of size sqrt(n) by about u/2 of it; n such errors walk to u n / 2. Four of these: 2 u n.
 */
export const sumOf = (n: number): Tolerance => ({ abs: 2 * u * (n + 4), rel: 8 * u });
/** A sum of n positive terms: the relative error walks to u sqrt(n); four of these. */
export const positiveSumOf = (n: number): Tolerance => ({
  abs: 1e-37,
  rel: 4 * u * (Math.sqrt(n) + 4),
});
/** `base` for numbers of size `scale` instead of 1. */
export const scaled = (base: Tolerance, scale: number): Tolerance => ({
  abs: base.abs * scale,
  rel: base.rel,
});
