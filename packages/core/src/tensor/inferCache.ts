import { bytesPerElement, type DType, isFloat } from '../backend/dtype.js';
import type { Attrs, OperandSpec } from '../backend/opCall.js';
import { copyOfAttrs, hashAttrs, hashShape, sameAttrs, sameSpec } from '../backend/sameCall.js';
import type { OpDef } from './op.js';
import { numel, type Shape } from './shape.js';

export interface OutputSpec {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly bytes: number;
  readonly isFloat: boolean;
}

/** What is known of a call before it runs. */
export interface Inferred {
  readonly outputs: readonly OutputSpec[];
  readonly hasFloat: boolean;
  /** Whether the backend has a kernel. */
  readonly isSupported: boolean;
}

/** With the attributes as a copy that nobody can change: the next cache compares it by identity. */
export type Known = Inferred & { readonly attrs: Attrs };

interface Entry {
  readonly inputs: readonly OperandSpec[];
  readonly known: Known;
}

/**
 * Shape rules that were asked before, with their answers: of the same op, shapes, dtypes and
 * attributes, numbers included. A call with another number asks anew and takes the place of the one
 * before.
 */
export class InferCache {
  #ops = new WeakMap<OpDef, Map<number, Entry>>();
  #size = 0;

  /**
   * @param capacity above this many all are forgotten: shapes that never come back must not pile up
   */
  constructor(private readonly capacity = 4096) {}

  /** @param infer asked when it is not known; what it throws is not kept */
  get<A extends Attrs>(
    def: OpDef<A>,
    inputs: readonly OperandSpec[],
    attrs: A,
    infer: (def: OpDef<A>, inputs: readonly OperandSpec[], attrs: A) => Inferred,
  ): Known {
    let hash = hashAttrs(inputs.length, attrs);
    for (let i = 0; i < inputs.length; i++) hash = hashShape(hash, inputs[i]!.shape);
    let entries = this.#ops.get(def as unknown as OpDef);
    const found = entries?.get(hash);
    if (found && sameInputs(found.inputs, inputs) && sameAttrs(found.known.attrs, attrs))
      return found.known;
    const known = { ...infer(def, inputs, attrs), attrs: copyOfAttrs(attrs) };
    if (this.#size >= this.capacity) {
      this.#ops = new WeakMap();
      this.#size = 0;
      entries = undefined;
    }
    if (!entries) {
      entries = new Map();
      this.#ops.set(def as unknown as OpDef, entries);
    }
    if (!entries.has(hash)) this.#size++;
    entries.set(hash, {
      inputs: inputs.map(({ shape, dtype }) => ({ shape: [...shape], dtype })),
      known,
    });
    return known;
  }
}

function sameInputs(a: readonly OperandSpec[], b: readonly OperandSpec[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!sameSpec(a[i]!, b[i]!)) return false;
  return true;
}

export const outputSpec = ({ shape, dtype }: OperandSpec): OutputSpec => ({
  shape: [...shape],
  dtype,
  bytes: numel(shape) * bytesPerElement[dtype],
  isFloat: isFloat(dtype),
});
