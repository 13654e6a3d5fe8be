import { type ExtensionPoint, extensionPoint } from '@attune/core';
import type { z } from 'zod';

/**
 * Whom a parameter belongs to: `shared` has one value for an output tensor, `perInput` one for each
 * input with the base, `perModel` one for each input but the base.
 */
export type ParameterScope = 'shared' | 'perInput' | 'perModel';

/** A parameter of a method: its scope, and what values it takes. */
export interface MergeParameter<
  S extends z.ZodType = z.ZodType,
  Scope extends ParameterScope = ParameterScope,
> {
  readonly scope: Scope;
  /** `.default()` is what is taken without it; a parameter without one must be given. */
  readonly schema: S;
}

/** One value for an output tensor. @example normalize: shared(z.boolean().default(true)) */
export const shared = <S extends z.ZodType>(schema: S): MergeParameter<S, 'shared'> => ({
  scope: 'shared',
  schema,
});

/** One value for each input, the base among them. */
export const perInput = <S extends z.ZodType>(schema: S): MergeParameter<S, 'perInput'> => ({
  scope: 'perInput',
  schema,
});

/** One value for each input but the base. @example weight: perModel(z.number()) */
export const perModel = <S extends z.ZodType>(schema: S): MergeParameter<S, 'perModel'> => ({
  scope: 'perModel',
  schema,
});

/** Parameters of a method by name, in camelCase; a file writes them in snake_case. */
export type MergeParameters = Readonly<Record<string, MergeParameter>>;

/** The values that a method reads: lists where a parameter has one for each input. */
export type MergeValues<P extends MergeParameters> = {
  readonly [K in keyof P]: P[K]['scope'] extends 'shared'
    ? z.output<P[K]['schema']>
    : readonly z.output<P[K]['schema']>[];
};

/**
 * A piece of the tensors that are merged, the same piece of each. The arrays are used again for the
 * next one: copy what is to stay.
 */
export interface MergeChunk {
  /** Where it begins: an index into the flattened tensor. */
  readonly start: number;
  /** How many elements: the length of each array. */
  readonly length: number;
  /** All inputs in their order, the base among them. */
  readonly inputs: readonly Float32Array[];
  /** The base; null: the merge has none. */
  readonly base: Float32Array | null;
  /** The inputs but the base, in their order. */
  readonly models: readonly Float32Array[];
}

/** What one output tensor is made of. */
export interface MergeGroup {
  /** The output tensor: `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Product of `shape`. */
  readonly length: number;
  /** Elements of a row: the last entry of `shape`; 1 for a scalar. */
  readonly columns: number;
  /** Number of inputs, with the base. */
  readonly numInputs: number;
  /** Which input is the base; null: none. */
  readonly baseIndex: number | null;
  /** Number of inputs but the base. */
  readonly numModels: number;
  /** Reads all of it once more, in order. A method takes as many passes as it needs. */
  chunks(): Iterable<MergeChunk>;
  /**
   * Memory of the thread for `count` arrays, which the next tensor has again: new arrays for each
   * tensor would pile up faster than they are collected. What is in them at first is not defined;
   * nothing may stay in them when the tensor is done.
   */
  scratch(count: number): Scratch;
}

/** The first `length` elements of array `k`: the same memory in each call, unless it grows. */
export type Scratch = (k: number, length: number) => Float32Array;

/** Fills an array with the next numbers of a stream, uniform in [0, 1), 24 bits each. */
export type FillUniform = (into: Float32Array) => void;

/** How a method computes. */
export interface MergeArithmetic {
  /**
   * What the arithmetic is done in: 'float32', or in `parity: 'mergekit'` the dtype of the inputs.
   */
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
  /**
   * A number as `dtype` holds it. A method rounds after each operation that torch rounds after:
   * `round(round(a - b) * w)`. Sums over a tensor add up float32 numbers in float64.
   */
  readonly round: (value: number) => number;
  /**
   * Random numbers from the start of a stream. The same stream of the same tensor and seed has the
   * same numbers, however the tensor is cut: a method that needs them in two passes asks twice.
   */
  random(stream: number): FillUniform;
  /**
   * Tells the report what share of the elements of each model the method kept, 0 to 1. A method
   * that trims says it once for a tensor. Absent: nobody asks.
   */
  kept?(shares: readonly number[]): void;
}

/** Computes a piece of the result. Called once for each chunk, in order. */
export type Combine = (chunk: MergeChunk, out: Float32Array) => void;

/** Which base a method works with. */
export type BasePolicy = 'required' | 'optional' | 'ignored';

/** What `defineMergeMethod` takes. */
export interface MergeMethodDefinition<P extends MergeParameters> {
  /** What `merge_method` names: "ties". */
  readonly name: string;
  /** How reports call it: "TIES". */
  readonly title: string;
  /** Where it comes from: "arXiv:2306.01708". */
  readonly reference?: string;
  /** Whether there must be a base. 'ignored': the base is one more input. */
  readonly base: BasePolicy;
  /** How many inputs there may be, with the base. Default: at least 1. */
  readonly inputs?: { readonly min?: number; readonly max?: number };
  /** How many there may be but the base. Default: any number. */
  readonly models?: { readonly min?: number; readonly max?: number };
  readonly parameters: P;
  /**
   * What a chunk may cut: 'elements' anything, 'rows' no row, 'slices' no index of the first axis,
   * 'tensor' nothing. A vector is one row, and one slice. Default 'elements'.
   */
  readonly chunks?: 'elements' | 'rows' | 'slices' | 'tensor';
  /**
   * What is wrong with values that are each allowed: "weights add up to 0". null: nothing. Asked
   * before any weight is read, for each tensor.
   */
  check?(parameters: MergeValues<P>): string | null;
  /**
   * Reads what it needs to know of whole tensors (norms, cuts) in passes over `group.chunks()`, and
   * gives the function that computes the result. Pure: the same inputs give the same bits.
   */
  merge(group: MergeGroup, parameters: MergeValues<P>, arithmetic: MergeArithmetic): Combine;
  /**
   * `import.meta.url` of the module that exports the method by its `name` or as default, so that
   * worker threads can load it. Default: it runs on the main thread.
   */
  readonly module?: string;
}

/** A merge method as the SDK uses it. {@link defineMergeMethod} makes one. */
export interface MergeMethod
  extends Omit<MergeMethodDefinition<MergeParameters>, 'check' | 'merge'> {
  check?(parameters: Readonly<Record<string, unknown>>): string | null;
  merge(
    group: MergeGroup,
    parameters: Readonly<Record<string, unknown>>,
    arithmetic: MergeArithmetic,
  ): Combine;
}

/**
 * Makes a merge method: a name, parameters with their scopes, a pure function on tensors.
 *
 * @example
 * export const average = defineMergeMethod({
 *   name: 'average', title: 'Average', base: 'ignored', parameters: {},
 *   merge: (group) => ({ inputs }, out) => {
 *     for (let i = 0; i < out.length; i++)
 *       out[i] = inputs.reduce((sum, x) => sum + x[i]!, 0) / group.numInputs;
 *   },
 * });
 */
export const defineMergeMethod = <const P extends MergeParameters>(
  definition: MergeMethodDefinition<P>,
): MergeMethod => definition as unknown as MergeMethod;

/** Methods that `merge_method` can name. A plugin adds its own. */
export const MergeMethods: ExtensionPoint<MergeMethod> = extensionPoint(
  'merge method',
  (method) => method.name,
);
