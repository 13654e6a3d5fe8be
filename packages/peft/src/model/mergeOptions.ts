import type { DequantizedDType } from '@attune/core/nn';

/** Options of `mergeAdapter`. */
export interface MergeOptions {
  /**
   * Refuse a merge that would give infinite or not-a-number weights, before anything is written.
   * Weights that are quantised again are always checked. Default false.
   */
  readonly safeMerge?: boolean;
}

/** Options of `mergeAndUnload`. */
export interface MergeAndUnloadOptions extends MergeOptions {
  /**
   * Gives a base that is held in 4 or 8 bits back in full precision, with the merged weights
   * unrounded. A dtype says how all its layers are stored; true: as the base's other weights.
   * Default false: merged weights are rounded to 4 or 8 bits again, as in PEFT.
   */
  readonly dequantize?: boolean | DequantizedDType;
}
