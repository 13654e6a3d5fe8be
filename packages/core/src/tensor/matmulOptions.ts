import type { ComputeDType } from '../backend/dtype.js';
import type { Tensor } from './tensor.js';

// On its own, outside of the `ops` namespace: bundled declarations lose track of a type that a
// namespace re-exports from a shared chunk.
/** How a product reads its operands, and what it does with the result. */
export interface MatmulOptions {
  /** Read a as [..., K, M]. Default false. */
  readonly transposeA?: boolean;
  /** Read b as [..., N, K]: the layout of a linear layer's weight. Default false. */
  readonly transposeB?: boolean;
  /** Multiplies the product. Default 1. */
  readonly scale?: number;
  /**
   * Added to the scaled product: of its shape, or [N], a bias. One pass over memory less than
   * `add`.
   */
  readonly addend?: Tensor;
  /**
   * What a and b are rounded to before they are multiplied. Default: the engine's `computeDType`.
   */
  readonly compute?: ComputeDType;
}
