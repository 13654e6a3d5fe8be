import type { DType } from '../backend/dtype.js';
import type { Attrs } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import type { Engine } from './engine.js';
import type { Shape } from './shape.js';
import type { Tensor } from './tensor.js';

/** Shape and dtype: what the shape rule of an op sees. */
export interface TensorSpec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** An operand in the reference backend: floats as float64, whatever their storage dtype. */
export interface ReferenceArray extends TensorSpec {
  readonly data: Float64Array | Int32Array | Uint32Array;
}

/** What the float64 meaning of an op is given. */
export interface ReferenceCall<A extends Attrs = Attrs> {
  readonly inputs: readonly ReferenceArray[];
  readonly outputs: readonly ReferenceArray[];
  readonly attrs: A;
}

/** What a backward rule may use. */
export interface VjpContext<A extends Attrs = Attrs> {
  readonly engine: Engine;
  readonly attrs: A;
  /**
   * The forward's inputs. Only those listed in `saves.inputs` may be read; all have shape and
   * dtype.
   */
  readonly inputs: readonly Tensor[];
  /** The forward's outputs. Only those listed in `saves.outputs` may be read. */
  readonly outputs: readonly Tensor[];
  /** dLoss/dOutput, one for each output; null where the loss does not depend on it. */
  readonly grads: readonly (Tensor | null)[];
  /** Which inputs want a gradient: skip the work for the others. */
  readonly needs: readonly boolean[];
  /**
   * Where the gradient of each input lies, if a rule may write it there; see {@link GradientPlace}.
   */
  readonly into: readonly (GradientPlace | null)[];
}

/**
 * Where a rule may make an input's gradient in place: it writes with `engine.runInto` and returns
 * `tensor` itself. That saves a tensor and a pass over memory.
 */
export interface GradientPlace {
  readonly tensor: Tensor;
  /** Add to what is there; else overwrite it. */
  readonly accumulate: boolean;
}

/**
 * One row of the op table.
 *
 * - `infer` is the shape rule: it checks the inputs and says what comes out. It depends on its
 *   arguments alone, and is asked once for equal ones.
 * - The meaning of a primitive is `reference`, float64 arithmetic; that of everything fused is
 *   `decompose`, the same in simpler ops. A backend without a kernel of that name runs `decompose`.
 *   So an op from another package works everywhere on the day it is written, and a kernel makes it
 *   faster.
 * - `vjp` is the backward rule, itself written in ops. It depends on its argument alone: where a
 *   step repeats an earlier one, what the rule dispatched is repeated without asking it. Without
 *   it, gradients flow through `decompose`.
 */
export interface OpDef<A extends Attrs = Attrs> {
  readonly name: string;
  infer(inputs: readonly TensorSpec[], attrs: A): readonly TensorSpec[];
  reference?(call: ReferenceCall<A>): void;
  decompose?(inputs: readonly Tensor[], attrs: A, engine: Engine): readonly Tensor[];
  vjp?(context: VjpContext<A>): readonly (Tensor | null)[];
  /**
   * Multiplications and additions of one call, for the profiler. Ops in which they dominate have
   * it.
   */
  flops?(inputs: readonly TensorSpec[], attrs: A): number;
  /** Indices of what the tape keeps for `vjp`. Default: every input, no output. */
  readonly saves?: { readonly inputs?: readonly number[]; readonly outputs?: readonly number[] };
}

/** Checks a row of the op table where it is written. @throws OP_MEANINGLESS */
export function defineOp<A extends Attrs>(def: OpDef<A>): OpDef<A> {
  if (!def.reference && !def.decompose)
    throw new AttuneError('OP_MEANINGLESS', `defineOp("${def.name}"): the op has no meaning.`, {
      remedy: 'Give `decompose` (in simpler ops), or `reference` (float64 arithmetic).',
    });
  return def;
}
