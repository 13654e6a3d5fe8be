import type { Tensor } from '../tensor/tensor.js';

/**
 * A named array of an optimizer's state on its way into a checkpoint; fetched when it is its turn.
 */
export interface StateTensor {
  /** `exp_avg.<parameter>`, `exp_avg_sq.<parameter>` as torch calls Adam's moments. */
  readonly name: string;
  /** U8: codes of 8-bit states. */
  readonly dtype: 'float32' | 'U8';
  readonly shape: readonly number[];
  readonly data: () => Promise<Float32Array | Uint8Array>;
}

/** Where a checkpoint's arrays come from: undefined where it has none of that name. */
export type ReadState = (name: string) => Promise<Float32Array | Uint8Array | undefined>;

/**
 * One update: `backward` of every micro-batch, `clipGradNorm`, `step`, `zeroGrad`. Nothing of it
 * but `settle` waits for the device; every number that changes from step to step travels as data.
 */
export interface Optimizer {
  /**
   * The gradients that lie ready, as flat float32 tensors that may be read and written in place:
   * what ranks add up between the last `backward` and `clipGradNorm`. Those of a parameter that no
   * loss reached are zero. The same sizes in the same order on every rank. Absent: this optimizer
   * works on one rank only.
   */
  gradients?(): readonly Tensor[];
  /**
   * The clip factor of the gradients that lie ready: [norm, coefficient, finite], see
   * `ops.clipFactor`. The caller owns the tensor.
   *
   * @param maxNorm 0: no clipping; the norm is measured all the same
   * @param lossScale [scale, ...] by which the loss was multiplied: the norm is that without it,
   *   and the coefficient takes it out
   */
  clipGradNorm(maxNorm: number, lossScale?: Tensor | null): Tensor;
  /**
   * Changes the parameters, unless `clip` says that the norm was not finite: then the device leaves
   * them.
   */
  step(options: { readonly lr: number; readonly clip: Tensor }): void;
  /**
   * What of the update must wait for the device; awaited right after `step`, before `clip` is gone.
   * Absent where nothing must: of the built-in ones, the paged optimizers alone have it.
   */
  settle?(): Promise<void>;
  /** The next backward overwrites the gradients instead of adding to them. */
  zeroGrad(): void;
  /** Updates done. */
  readonly stepCount: number;
  exportState(): StateTensor[];
  /**
   * @param stepCount updates that the saved run had done
   * @throws OPTIMIZER_STATE when names or sizes are not those of the trainable parameters
   */
  importState(stepCount: number, read: ReadState): Promise<void>;
  /** Frees gradients and state; the parameters stay. */
  dispose(): void;
}
